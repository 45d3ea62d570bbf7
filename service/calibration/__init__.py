"""Vocabularies calibrated by labelled photographs of their owners."""
