"""A compact image tower that learns from a large one, on photographs without labels."""
