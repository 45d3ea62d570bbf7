"""Benchmarks: one command for each performance claim."""
