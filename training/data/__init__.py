"""Data sets as lists of paths and label matrices."""
