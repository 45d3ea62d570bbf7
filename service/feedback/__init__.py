"""Users' feedback on tags, stored and exported as a training set."""
