"""What a run does, one module per command."""
