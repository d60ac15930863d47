"""Analysis and synthesis transforms between a tile of integers and its subbands."""
