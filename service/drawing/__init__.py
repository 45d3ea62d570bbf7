"""Draws tagging results as pictures."""
