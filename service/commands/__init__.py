"""The subcommands of `sigrl`, one module each, with their helpers."""
