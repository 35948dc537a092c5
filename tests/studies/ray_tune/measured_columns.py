"""What of a ledger two runs of one study may differ in."""

MEASURED = frozenset(
    {
        "started_at", "ended_at", "seconds", "seconds_training", "seconds_before",
        "seconds_scoring", "images_per_second", "peak_memory_bytes",
    }
)  # fmt: skip
"""Columns that say when and how fast."""

WHERE = frozenset({"host", "cpus", "gpus"})
"""Columns that say where, and with what share of the machine."""
