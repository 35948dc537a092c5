"""Odd study files, YAML, CSV and pictures: each accepted, or refused in one line with exit code 2.

    python tests/corruption/odd_inputs.py [--mutated 500]

prints a table of how they ended, by kind, and the slowest of each. The exit code is 1 if any ended
otherwise, or took longer than 5 s.
"""

import argparse
import contextlib
import io
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

sys.path.append(str(Path(__file__).parents[1] / "studies" / "spec"))

import numpy as np
from odd_pictures import IMAGES, MASKS, SIZE, OddPicture, picture
from PIL import Image
from test_mutated_studies import mutated_study
from test_odd_files import CLASSES, GROUPS, LABELS, SETTINGS, STUDY_TEXTS

from studies.cli.main import main as wsss
from studies.spec.loading import shipped_studies

LIMIT_S = 5.0


class Ended(NamedTuple):
    """How a command ended.

    Attributes:
        code: its exit code; None: a traceback.
        said: its errors.
        seconds: of the processor, so that a busy machine is not one that hangs.

    """

    code: int | None
    said: str
    seconds: float

    @property
    def how(self) -> str:
        """ "accepted", "refused" or "otherwise"."""
        if self.code == 0 and not self.said:
            return "accepted"
        line = self.said.startswith("wsss: ") and self.said.count("\n") == 1
        return "refused" if self.code == 2 and line and len(self.said) < 1500 else "otherwise"


def ended(*arguments: str | Path) -> Ended:
    """Return how a command of wsss ends in this process."""
    errors, began = io.StringIO(), time.process_time()
    code: int | None = None
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        try:
            code = wsss(list(map(str, arguments)))
        except SystemExit as ends:
            code = ends.code if isinstance(ends.code, int) else None
        except Exception as error:
            errors.write(repr(error))
    return Ended(code, errors.getvalue(), time.process_time() - began)


def of_study(folder: Path, text: str | bytes, *options: str) -> Ended:
    """Plan a study file."""
    file = folder / "study.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return ended("plan", file, "--results", folder / "results", *options)


def data_folder(folder: Path) -> Path:
    """Make three training images with labels.csv, one image to tune on and one to test on."""
    root = folder / "data"
    for name in ("train/images/a.png", "train/images/b.png", "train/images/c.png",
                 "tune/images/x.png", "test/images/x.png"):  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(picture())
    for split in ("tune", "test"):
        (root / split / "masks").mkdir()
        values = np.array([[0, 1, 7, 255]] * SIZE, np.uint8)
        Image.fromarray(values).save(root / split / "masks" / "x.png")
    (root / "classes.yaml").write_text("classes: {1: smoke, 7: steam}\n")
    (root / "train" / "labels.csv").write_text(str(LABELS[0][0]))
    return root


def of_data_file(folder: Path, name: str, text: str | bytes) -> Ended:
    """Check a data folder with a file of that text."""
    root = data_folder(folder)
    (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return ended("data", "check", root)


def of_picture(folder: Path, name: str, odd: OddPicture) -> Ended:
    """Check a data folder with an odd picture."""
    root = data_folder(folder)
    (root / name).unlink()
    odd.put(root / name)
    return ended("data", "check", root)


def all_inputs(folder: Iterator[Path], mutated: int) -> Iterator[tuple[str, str, Ended]]:
    """Yield kind and name of each input, and how it ended."""
    for seed in range(1000, 1000 + mutated):
        yield "mutated study files", f"seed {seed}", of_study(next(folder), mutated_study(seed))
    quickstart = shipped_studies()["quickstart"].read_text(encoding="utf-8")
    for text, _ in STUDY_TEXTS:
        yield "YAML: study files", repr(text)[:60], of_study(next(folder), text)
    for change, _ in SETTINGS:
        found = of_study(next(folder), quickstart, "--set", change)
        yield "YAML: values of --set", change[:60], found
    for kind, name, texts in (
        ("YAML: classes.yaml", "classes.yaml", CLASSES),
        ("CSV: labels.csv", "train/labels.csv", LABELS),
        ("CSV: groups.csv", "groups.csv", GROUPS),
    ):
        for text, _ in texts:
            yield kind, repr(text)[:60], of_data_file(next(folder), name, text)
    for kind, name, pictures in (
        ("pictures: images", "train/images/b.png", IMAGES),
        ("pictures: masks", "tune/masks/x.png", MASKS),
    ):
        for odd in pictures:
            end = of_picture(next(folder), name, odd)
            expected = "accepted" if odd.accepted else "refused"
            if end.how != expected:
                end = end._replace(code=None, said=f"expected: {expected}; {end.said}")
            yield kind, odd.name, end


def fresh_folders(below: str) -> Iterator[Path]:
    """Yield empty folders."""
    number = 0
    while True:
        number += 1
        folder = Path(below, str(number))
        folder.mkdir()
        yield folder


def printed(found: Iterable[tuple[str, str, Ended]], *, show: bool) -> int:
    """Print the table; return 1 if anything ended otherwise or took too long."""
    kinds: dict[str, list[Ended]] = {}
    for kind, name, end in found:
        kinds.setdefault(kind, []).append(end)
        if show or end.how == "otherwise" or end.seconds > LIMIT_S:
            print(f"{kind}, {name}: {end.how}, {end.code}, {end.seconds:.1f} s, {end.said[:300]!r}")
    kinds["**all**"] = [end for ends in kinds.values() for end in ends]
    print("| kind | inputs | accepted | refused in one line | otherwise | slowest (s) |")
    print("|---|---:|---:|---:|---:|---:|")
    for kind, ends in kinds.items():
        how = [end.how for end in ends]
        counts = [how.count(one) for one in ("accepted", "refused", "otherwise")]
        slowest = max(end.seconds for end in ends)
        print(f"| {kind} | {len(ends)} | {' | '.join(map(str, counts))} | {slowest:.1f} |")
    every = kinds["**all**"]
    return int(any(end.how == "otherwise" or end.seconds > LIMIT_S for end in every))


def main() -> int:
    """Try all inputs and print how they ended; 1 if any ended otherwise."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mutated", type=int, default=500, help="how many study files with faults")
    parser.add_argument("--show", action="store_true", help="print a line for each input")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as below:
        # What is loaded once does not count.
        of_study(Path(below), shipped_studies()["quickstart"].read_text(encoding="utf-8"))
        return printed(all_inputs(fresh_folders(below), options.mutated), show=options.show)


if __name__ == "__main__":
    sys.exit(main())
