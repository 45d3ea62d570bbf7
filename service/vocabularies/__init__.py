"""Built-in and registered vocabularies, and their calibration by examples."""
