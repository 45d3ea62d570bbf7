"""Servers that `benchmarks.serving` compares with ours, written as their own guides recommend."""
