"""Evaluation: metrics, and what is measured on labelled photographs."""
