"""From arrays and a split to a trained network and its predictions."""
