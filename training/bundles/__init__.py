"""Checkpoint bundles: made from a run, from another bundle, or from weights of others."""
