"""Results read from the ledger: every trial, its figures, and comparisons paired by seed."""
