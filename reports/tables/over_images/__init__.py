"""Tables over single test images: altered images, groups of a flag, seeds beside images."""

from reports.tables.over_images.chance import chance_table, has_both_chances
from reports.tables.over_images.reasons import groups_table, has_groups, reasons_table

__all__ = ["chance_table", "groups_table", "has_both_chances", "has_groups", "reasons_table"]
