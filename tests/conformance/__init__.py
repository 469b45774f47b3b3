"""The Autobahn TestSuite: the script that runs it, and the script's own tests. tests/live/test_conformance.py uses it on a daemon."""
