"""Benchmarks: each is one command, `python -m benchmarks.NAME` from the checkout, with text on
stderr and one JSON line last on stdout."""
