"""The steps of a refinement chain, and their registry."""
