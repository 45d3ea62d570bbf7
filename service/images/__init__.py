"""Photographs: reading them from files and URLs, and decoding them."""
