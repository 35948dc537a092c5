"""The figures of a report: plain data first, then a drawing function."""
