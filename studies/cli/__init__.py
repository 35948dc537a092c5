"""The command `wsss`."""
