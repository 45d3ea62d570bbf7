"""Tagging as a service, a command line and a Python object."""
