"""Faster forms of SVFR's two attentions, each held against `model.svfr`."""
