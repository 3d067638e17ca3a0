"""From predictions to scores and intervals: no images, no torch."""
