"""The tables of a report, and one table model with four renderings."""
