"""The same damages, met by `wsss run` and `wsss report` themselves, on this machine or on S3.

For each disturbance the scores of every trial are taken away first, so that the run reads again
what it scores: images, networks, maps. Then a file is damaged, and `wsss run` and `wsss report` are
called as a user calls them, in this process; where they end with an error of one line that names
the file, they are called once more.

    python tests/corruption/commands.py --count 300 [--seed 0]
    python tests/corruption/commands.py --count 60 --s3

The table and the exit code are those of `corruption.py`.
"""

import argparse
import contextlib
import io
import os
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import fsspec
import torch
import yaml
from corruption import STAGES, TABLES, printed
from damages import DAMAGES
from study_on_disk import fixtures, make_weights, study_file

import studies.store.manifest
from studies.cli.main import main as wsss

AWAY = ("scores", "trials", "panels", "history", "refined")
"""The ledger's tables that a run brings back from the scores of trials."""


class Place:
    """A results folder, on this machine or at s3://, whose files are kept and brought back.

    Args:
        where: a path or a URI.

    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.files, self.path = fsspec.core.url_to_fs(where)
        self.kept: dict[str, bytes] = {}

    def names(self) -> list[str]:
        """The names of all files, below the place."""
        self.files.invalidate_cache()
        root = self.path.rstrip("/") + "/"
        return sorted(str(file).removeprefix(root) for file in self.files.find(self.path))

    def read(self, name: str) -> bytes:
        """Read a file."""
        content: bytes = self.files.cat_file(f"{self.path}/{name}")
        return content

    def put(self, name: str, content: bytes | None) -> None:
        """Write a file, or delete it."""
        if content is None:
            self.files.rm_file(f"{self.path}/{name}")
        else:
            self.files.makedirs(f"{self.path}/{Path(name).parent}", exist_ok=True)
            self.files.pipe_file(f"{self.path}/{name}", content)

    def keep(self) -> None:
        """Remember every file."""
        self.kept = {name: self.read(name) for name in self.names()}

    def restore(self) -> None:
        """Bring every file back as it was kept."""
        for name in self.names():
            if name not in self.kept:
                self.put(name, None)
        for name, content in self.kept.items():
            try:
                if self.read(name) == content:
                    continue
            except FileNotFoundError:
                pass
            self.put(name, content)


def called(*arguments: str) -> tuple[int, str]:
    """Call `wsss` as a new process would; its exit code and all that it printed."""
    studies.store.manifest._sound.clear()
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = wsss(list(arguments))
        except SystemExit as ended:
            code = int(ended.code or 0)
    return code, said.getvalue()


class Study:
    """A study that is run and reported by commands.

    Args:
        folder: for its file, its weights and its reports.
        results: the place of its results.

    """

    def __init__(self, folder: Path, results: Place) -> None:
        self.folder, self.results = folder, results
        make_weights(folder)
        (folder / "kept.yaml").write_text(yaml.safe_dump(study_file(folder)), encoding="utf-8")

    def run(self) -> tuple[int, str]:
        """`wsss run`, on a node that has no cache."""
        shutil.rmtree(self.folder / "cache", ignore_errors=True)
        spec = str(self.folder / "kept.yaml")
        return called("run", spec, "--results", self.results.where, "--in-process")

    def report(self) -> tuple[int, str]:
        """`wsss report`."""
        shutil.rmtree(self.folder / "report", ignore_errors=True)
        return called("report", self.results.where, "--out", str(self.folder / "report"))

    def outcomes(self) -> bytes:
        """The figures of the last report."""
        return (self.folder / "report" / "tables" / "outcomes.csv").read_bytes()


def kind_of(name: str) -> str | None:
    """Return how a file is counted; None if it is none of those that are damaged."""
    parts = name.split("/")
    if parts[-1] == "manifest.json":
        return "store: manifest"
    if parts[0] == "store":
        stage = parts[2].partition("-")[0] if parts[1] == "files" else parts[1]
        return f"store: {stage}" if stage in STAGES else None
    if parts[0] == "ledger" and parts[1] in TABLES:
        return f"ledger: {parts[1]}"
    return None


def ended(study: Study, name: str, undisturbed: bytes) -> tuple[str, str]:
    """Run and report, twice if the first ends with an error; how it ended, and what was said."""
    everything, named = "", False
    # An artifact is known by stage and key; on an object store the files carry both in a folder.
    parts = [part for word in name.split("/") for part in (word, *word.split("-"))]
    for attempt in (1, 2):
        for command in (study.run, study.report):
            code, said = command()
            everything += said
            if "Traceback" in said:
                return "traceback", everything
            if code:
                known = [part for part in parts if len(part) > 15 or part.endswith(".parquet")]
                if attempt == 2 or not any(part in said for part in [*known, Path(name).stem]):
                    return "traceback", everything
                named = True
                break
        else:
            break
    if study.outcomes() != undisturbed:
        return "wrong", everything
    if named:
        return "named", everything
    spoken = any(word in everything for word in ("corrupt", "came back", "made anew"))
    return ("healed" if spoken else "no effect"), everything


def main() -> int:
    """Damage files, count how the commands ended, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="of what is damaged and how")
    parser.add_argument("--s3", action="store_true", help="on a server of S3 on loopback")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as base, contextlib.ExitStack() as stack:
        folder = Path(base)
        where = str(folder / "results")
        os.environ["WSSS_CACHE"] = str(folder / "cache")
        if options.s3:
            server = fixtures().S3Server()
            stack.callback(server.stop)
            where = on_s3(server.url)
        study = Study(folder, Place(where))
        return go(study, options.count, options.seed)


def on_s3(url: str) -> str:
    """Make a bucket, and lead this process to the server; the URI of the results."""
    import requests

    os.environ |= {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "something",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    requests.put(f"{url}/bucket", timeout=30).raise_for_status()
    return "s3://bucket/results"


def go(study: Study, count: int, seed: int) -> int:
    """Make the study, damage it, print the table; 1 if anything was wrong."""
    code, said = study.run()
    assert code == 0, said
    code, said = study.report()
    assert code == 0, said
    undisturbed = study.outcomes()
    results = study.results
    results.keep()
    kinds: dict[str, list[str]] = {}
    for name in results.names():
        if kind := kind_of(name):
            kinds.setdefault(kind, []).append(name)
    ends: dict[str, Counter[str]] = {kind: Counter() for kind in sorted(kinds)}
    chosen = random.Random(seed)
    for number in range(count):
        kind = sorted(kinds)[number % len(kinds)]
        name = chosen.choice(kinds[kind])
        damage = chosen.choice(list(DAMAGES))
        if "scores" not in kind and not kind.startswith("ledger"):
            for other in results.names():
                parts = other.split("/")
                if other != name and (
                    parts[:2] == ["store", "scores"]
                    or (parts[1:2] == ["files"] and parts[2].startswith("scores-"))
                    or (parts[0] == "ledger" and parts[1] in AWAY)
                ):  # fmt: skip
                    results.put(other, None)
        results.put(name, DAMAGES[damage](results.kept[name], chosen))
        try:
            end, said = ended(study, name, undisturbed)
        except Exception:
            end, said = "traceback", traceback.format_exc()
        ends[kind][end] += 1
        if end in ("wrong", "traceback"):
            print(f"{end}: disturbance {number}, {damage} of {name}\n{said[-2000:]}", flush=True)
        results.restore()
    return printed(ends)


if __name__ == "__main__":
    sys.exit(main())
