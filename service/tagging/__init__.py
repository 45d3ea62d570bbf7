"""Photographs and labels in, tags out, in one process and one call."""
