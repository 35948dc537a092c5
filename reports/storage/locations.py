"""Locations: a path of this machine, or a URI of a file system that fsspec knows."""

from pathlib import Path

Location = str | Path
"""A path, or a URI such as `s3://bucket/prefix`."""


def is_uri(where: Location) -> bool:
    """Return whether a location is a URI of another file system than this machine's.

    >>> is_uri("s3://bucket/study"), is_uri("results/study"), is_uri("file:///results")
    (True, False, False)
    """
    return "://" in str(where) and not str(where).startswith("file://")


def below(where: Location, *names: str) -> Location:
    """Return a location below another.

    >>> below("s3://bucket/study/", "store")
    's3://bucket/study/store'
    """
    if is_uri(where):
        return "/".join([str(where).rstrip("/"), *names])
    return local_path(where).joinpath(*names)


def local_path(where: Location) -> Path:
    """Return the absolute path of a location that is no URI."""
    return Path(str(where).removeprefix("file://")).expanduser().absolute()


def located(text: str) -> Location:
    """Return the location that a command line names: a URI as it is, a path as a `Path`."""
    return text.rstrip("/") if is_uri(text) else Path(text.removeprefix("file://"))
