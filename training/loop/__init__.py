"""The training loop, which knows tasks only through a protocol."""
