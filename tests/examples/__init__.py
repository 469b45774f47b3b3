"""The examples: their apps and their command. tests/live/test_examples.py opens their pages in a browser."""
