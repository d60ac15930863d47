"""A closed loop that learns from the tile as it goes, encoder and decoder alike."""
