"""The section `segment` of a study file."""
