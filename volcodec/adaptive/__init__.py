"""A closed loop that learns from the tile as it goes, coder and decoder alike: the highest effort."""
