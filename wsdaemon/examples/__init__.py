"""Small example apps to read, run and copy."""
