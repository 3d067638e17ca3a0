"""From downloads to arrays and splits."""
