"""Attacks on a running server, mixed with honest traffic: what survives, and at what cost."""
