"""The study file: what a researcher writes, checked whole before anything runs."""
