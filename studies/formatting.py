"""Durations for people."""


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
