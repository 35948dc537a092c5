"""What `ray submit` copies to a cluster's head and starts there: `wsss run` on that cluster.

    ray submit clusters/on_prem.yaml studies/submit.py -- SPEC --results /shared/results/STUDY
    ray job submit --working-dir . -- python -m studies.submit SPEC --results s3://bucket/STUDY

The arguments and the exit code are those of `wsss run`; `--address auto` is added. Only this one
file travels; everything else is the package as it is installed on the nodes.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    from reports.storage import is_uri
    from studies.cli.common import open_standard_streams, show
    from studies.cli.main import USAGE_ERROR
    from studies.cli.main import main as wsss
except ImportError as error:
    sys.exit(
        f"submit: {sys.executable} cannot import wsss-studies ({error}); the environment with it "
        "has to come first on PATH of a login shell, as setup_commands in clusters/*.yaml see to"
    )


ENDED = "WSSS_ENDED"
"""Environment variable: a file to write the exit code to, so that a script knows of the end."""


def main(arguments: Sequence[str]) -> int:
    """Run a study, and write the exit code to the file that `ENDED` names; see `submit`."""
    try:
        code = submit(arguments)
    except SystemExit as ended:  # argparse's, of --help or of arguments that are wrong
        code = ended.code if isinstance(ended.code, int) else USAGE_ERROR
    if file := os.environ.get(ENDED):
        Path(file).write_text(f"{code}\n", encoding="ascii")
    return code


def submit(arguments: Sequence[str]) -> int:
    """Run a study on the cluster whose head this is; return the exit code of `wsss run`.

    Args:
        arguments: of `wsss run`. `--results` has to be given, since a folder beside the program is
            gone with the job or the head, and an absolute path or a URI, since every node writes.

    """
    open_standard_streams()
    # A job's output is a file, which Python would fill a block at a time.
    for stream in (sys.stdout, sys.stderr):
        getattr(stream, "reconfigure", lambda **_: None)(line_buffering=True)
    if not {"-h", "--help"}.isdisjoint(arguments):
        return wsss(["run", "--help"])
    known = argparse.ArgumentParser(prog="submit", add_help=False, allow_abbrev=False)
    known.add_argument("--results", default="")
    known.add_argument("--store")
    known.add_argument("--address")
    given = known.parse_known_args(arguments)[0]
    for option in ("--results", "--store"):
        where = getattr(given, option.removeprefix("--"))
        if where is not None and not _seen_by_all(where):
            said = f"{where} is a relative path" if where else "is missing"
            show(
                f"submit: {option} {said}, expected what every node sees: a shared folder's "
                "absolute path or a URI such as s3://bucket/study",
                aside=True,
            )
            return USAGE_ERROR
    return wsss(["run", *arguments, *([] if given.address else ["--address", "auto"])])


def _seen_by_all(where: str) -> bool:
    return is_uri(where) or Path(where).expanduser().is_absolute()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
