"""Pixel affinity: learning it over a frozen encoder, and random walks along it."""
