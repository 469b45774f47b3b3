"""Small apps to read, run and copy."""
