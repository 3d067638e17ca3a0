"""How fast it is, and what is to be done on a fast machine."""
