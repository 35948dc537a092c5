"""The version of the toolkit, from the installed distribution or from the checkout."""

import tomllib
from importlib import metadata
from pathlib import Path

DISTRIBUTION = "wsss-studies"


def checkout_version(project: Path) -> str:
    """Return the version of a checkout that is not installed: "0.1.0+checkout".

    Args:
        project: the checkout's `pyproject.toml`.

    Returns:
        "0+unknown" without such a file.

    """
    try:
        about = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        return f"{about['version']}+checkout" if about["name"] == DISTRIBUTION else "0+unknown"
    except (OSError, ValueError, KeyError):
        return "0+unknown"


try:
    __version__ = metadata.version(DISTRIBUTION)
except metadata.PackageNotFoundError:
    __version__ = checkout_version(Path(__file__).parents[1] / "pyproject.toml")
