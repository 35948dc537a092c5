"""How far a study is, read from its ledger and leases while it runs."""
