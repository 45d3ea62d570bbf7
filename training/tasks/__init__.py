"""The training tasks, one package each."""
