"""Servers that `benchmarks.serving` measures beside ours, as their own guides have them written."""
