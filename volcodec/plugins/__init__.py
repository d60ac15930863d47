"""What other libraries find volcodec by, each in a module that imports its library itself."""
