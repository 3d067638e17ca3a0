"""Across runs: claims, their evidence, and whether what is published is what was computed."""
