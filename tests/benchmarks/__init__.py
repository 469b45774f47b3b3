"""The benchmarks: what they run, and what they make of their samples. tests/live/test_benchmarks.py runs them."""
