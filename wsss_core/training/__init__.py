"""The training loop of every paradigm."""
