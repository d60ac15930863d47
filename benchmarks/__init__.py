"""Runnable studies of volcodec and its peers; README.md says what each one measures."""
