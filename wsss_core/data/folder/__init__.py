"""Data folders: images and masks as files, their layout, and a check of both."""
