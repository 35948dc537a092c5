"""The parts of `benchmarks/on_gpu.py`: checks against the CPU, and what is timed on the card."""
