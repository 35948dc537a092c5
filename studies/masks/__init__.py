"""Pseudo masks of a folder of images, made with a finished study."""
