"""The checks behind `benchmarks/timm_coverage.py`, each of a model in a process of its own."""
