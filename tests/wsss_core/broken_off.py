"""A training that stops between two epochs, as in a power failure."""

from collections.abc import Callable

from wsss_core.training import EpochRecord


class BrokenOffError(Exception):
    """Power failure."""


def break_off_after(epochs: int) -> Callable[[EpochRecord], None]:
    """Return what `on_epoch` takes, to break off after some epochs."""

    def report(record: EpochRecord) -> None:
        if record.epoch + 1 == epochs:
            raise BrokenOffError

    return report
