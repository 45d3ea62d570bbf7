"""The vocabularies: built in or registered, and calibrated by examples."""
