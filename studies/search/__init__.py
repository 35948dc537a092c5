"""Searching configurations: what to try next, running it, confirming the best."""
