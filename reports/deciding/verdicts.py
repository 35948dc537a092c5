"""The ends that a comparison can come to."""

from enum import StrEnum


class Verdict(StrEnum):
    """What a comparison came to."""

    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE = "no difference that matters"
    OPEN = "open"
    BUDGET_SPENT = "budget spent"

    @property
    def is_decided(self) -> bool:
        """Whether the differences answered the question."""
        return self not in (Verdict.OPEN, Verdict.BUDGET_SPENT)
