"""Entropy coding of integer symbols: contexts choose tables, rANS codes with them."""
