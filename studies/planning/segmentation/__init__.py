"""Segmentation runs as a plan has them, and the true masks of training images."""
