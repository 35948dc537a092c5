"""The stages of a trial: train, make CAMs, refine, score, publish."""
