"""The artifact store: finished stages by key, leases on what is being made, and upkeep."""
