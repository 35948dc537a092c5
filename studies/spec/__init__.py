"""The study file: its keys, their values, and the checks before anything runs."""
