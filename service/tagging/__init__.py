"""Tags photographs with labels, in one process and one call."""
