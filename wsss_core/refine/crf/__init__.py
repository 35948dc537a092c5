"""Dense conditional random fields: mean field inference on the permutohedral lattice."""
