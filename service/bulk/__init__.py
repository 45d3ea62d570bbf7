"""Tagging folders of any size: what is done stays done, and memory does not grow."""
