"""The status of a study, read from its ledger and leases while it runs."""
