"""Tagging for many clients at once, without any HTTP."""
