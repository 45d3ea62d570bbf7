"""Image and text towers in training: their initial weights and their features."""
