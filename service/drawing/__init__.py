"""What was found on photographs, as pictures in files."""
