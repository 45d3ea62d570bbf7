"""HTTP: parse, call, answer; nothing else."""
