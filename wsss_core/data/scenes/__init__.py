"""Procedural smoke scenes: pictures with their labels, smoke masks and context masks."""
