"""Planning a study: its trials, their keys, what they will cost."""
