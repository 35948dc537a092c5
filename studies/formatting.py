"""Text for people: durations, bytes, tables, errors."""

from collections.abc import Collection, Iterable, Sequence

from wsss_core.errors import nearest, one_line


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

    >>> in_bytes(0), in_bytes(1023), in_bytes(1536), in_bytes(3 * 2**30), in_bytes(2**51)
    ('0 B', '1023 B', '1.5 KiB', '3.0 GiB', '2,048.0 TiB')
    """
    if count < 2**10:
        return f"{count} B"
    power = min(4, (count.bit_length() - 1) // 10)
    return f"{count / 2 ** (10 * power):,.1f} {'KMGT'[power - 1]}iB"


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Return rows of cells as lines whose columns stand below each other.

    Args:
        rows: the cells of each row, of equally many columns.
        right: the columns that are aligned to the right.

    >>> print(aligned([("stage", "size"), ("cams", "2 B")], right=[1]))
    stage  size
    cams    2 B
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def error_line(error: BaseException) -> str:
    r"""Return an error's kind and message on one line.

    >>> error_line(ValueError("no\nsuch thing"))
    'ValueError: no such thing'
    """
    return f"{type(error).__name__}: {one_line(error)}"


def over_trials(count: int) -> str:
    """Return how many times a chain is run over a trial.

    >>> over_trials(3)
    '3 times a chain over a trial'
    """
    return f"{count} times a chain over a trial"


def trials_done(done: int, trials: int, chains_left: int) -> str:
    """Return how far a study is.

    Args:
        done: trials that have been trained and scored.
        trials: how many the study has.
        chains_left: how many times a chain still has to run over a trial.

    >>> trials_done(2, 3, 0)
    '2 of 3 trials are done'
    >>> trials_done(3, 3, 4)
    '3 of 3 trials are done, 4 times a chain over a trial to do'
    """
    chains = f", {over_trials(chains_left)} to do" if chains_left else ""
    return f"{done} of {trials} trials are done{chains}"


def no_progress(seconds: float, epoch_seconds: float | None) -> str:
    """Return for how long work has made no progress, beside what an epoch usually takes.

    >>> no_progress(720, 40.0)
    'no progress for 12 min (usually 40 s an epoch)'
    >>> no_progress(720, None)
    'no progress for 12 min'
    """
    usual = "" if epoch_seconds is None else f" (usually {duration(epoch_seconds)} an epoch)"
    return f"no progress for {about(seconds)}{usual}"


def about(seconds: float) -> str:
    """Return a duration, in whole minutes where seconds do not matter.

    >>> about(719), about(40), about(7260)
    ('12 min', '40 s', '2 h 01 min')
    """
    return f"{seconds / 60:.0f} min" if 120 <= seconds < 3600 else duration(seconds)


def expected_names(names: Iterable[object], given: object = None) -> str:
    """Say what there is to choose from, and which name is nearest to a given one."""
    known = list(map(str, names))
    near = nearest(given, known) if isinstance(given, str) else None
    hint = f"nearest: {near!r}; " if near else ""
    return f"{hint}expected one of {', '.join(known) or '(none is there)'}"
