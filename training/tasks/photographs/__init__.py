"""Training on your own photographs."""
