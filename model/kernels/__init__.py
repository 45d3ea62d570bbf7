"""Faster forms of SVFR's two attentions, each held against `sigrl.model.svfr`."""
