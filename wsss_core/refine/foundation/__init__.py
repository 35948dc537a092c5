"""Segment Anything and CLIP: loading checkpoints, mask proposals, text-image similarity."""
