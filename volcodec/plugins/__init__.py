"""Codecs of other libraries' chunk stores, each in a module that imports its library itself."""
