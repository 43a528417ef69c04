"""Runs that take long: what a store does after a hundred thousand changes."""
