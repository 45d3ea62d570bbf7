"""Faster implementations of SVFR's two attentions, each tested against `sigrl.model.svfr`."""
