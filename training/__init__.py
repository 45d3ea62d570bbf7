"""Data sets, losses, tasks and the `sigrl-train` commands. Meets `service` only in a bundle on disk."""
