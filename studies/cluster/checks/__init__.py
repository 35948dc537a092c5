"""What every node of a cluster must have before anything is scheduled there: one class a check."""
