"""Evaluates the tagger on everyday photographs with dense labels. Run by `__main__`."""
