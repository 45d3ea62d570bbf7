"""Data sets, losses, tasks and the `sigrl-train` commands. Training and `service` share only bundles on
disk."""
