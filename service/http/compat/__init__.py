"""Routes that other programs' clients already know how to call."""
