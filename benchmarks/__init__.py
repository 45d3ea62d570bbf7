"""Every claim of speed, one command each."""
