"""What users say of tags, kept as a training set."""
