"""What is done to a corpus as a whole, a file for each. Faces call these."""
