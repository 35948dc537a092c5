"""Text for people: durations, bytes, hours of resources, errors."""

from collections.abc import Iterable

from wsss_core.errors import one_line


def duration(seconds: float) -> str:
    """A duration for people.

    >>> duration(45), duration(150), duration(7260)
    ('45 s', '2 min 30 s', '2 h 01 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def in_bytes(count: int) -> str:
    """A number of bytes, to be read.

    >>> in_bytes(0), in_bytes(1023), in_bytes(1536), in_bytes(3 * 2**30)
    ('0 B', '1023 B', '1.5 KiB', '3.0 GiB')
    """
    if count < 2**10:
        return f"{count} B"
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if count >= 2 ** (10 * power):
            return f"{count / 2 ** (10 * power):,.1f} {unit}"
    raise AssertionError


def in_hours(amounts: Iterable[tuple[float, str]]) -> str:
    """Hours of resources in words, those that are 0 left out.

    >>> in_hours([(12.34, "GPU"), (0.0, "CPU-core")])
    '12.3 GPU-hours'
    """
    said = [(f"{hours:.3g}", name) for hours, name in amounts if hours]
    return ", ".join(f"{n} {name}-hour{'' if n == '1' else 's'}" for n, name in said) or "none"


def error_line(error: BaseException) -> str:
    r"""Return an error's kind and message on one line.

    >>> error_line(ValueError("no\nsuch thing"))
    'ValueError: no such thing'
    """
    return f"{type(error).__name__}: {one_line(error)}"
