"""Image and text towers in training: where they start, and their features."""
