"""The training loop, which knows tasks only by a protocol."""
