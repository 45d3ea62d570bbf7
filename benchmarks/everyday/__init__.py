"""What the tagger says of everyday photographs, held against dense labels. Run by `__main__`."""
