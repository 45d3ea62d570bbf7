"""Checkpoint bundles, made from a training run, from another bundle, or from weights that others trained."""
