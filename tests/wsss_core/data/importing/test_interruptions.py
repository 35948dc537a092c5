"""An import that is interrupted goes on; one that cannot write says so."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.wsss_core.data.importing.conftest import noisy, rectangle, save
from wsss_core.data.importing import check_imported, import_data
from wsss_core.errors import InputError

PAIRS = 600


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "import.json"
    }


INTERRUPTED_HALF_WAY = f"""
import itertools, os, signal, time
from wsss_core.data.importing import writing

# A shell that starts tests in the background has them ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
write, counted = writing.write_whole, itertools.count()

def counting(file, content):
    number = next(counted)
    if number > {PAIRS // 2}:
        time.sleep(0.05)
    write(file, content)
    if number == {PAIRS // 2}:
        os.kill(os.getpid(), signal.SIGINT)

writing.write_whole = counting
"""


def start(source: Path, destination: Path, before: str = "") -> subprocess.Popen[str]:
    """Import in a process of its own, which runs some code before."""
    code = f"{before}\nimport sys\nfrom studies.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "data", "import", source, destination]
    return subprocess.Popen(
        [*map(str, command), "--tune", "100"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.ci
def test_after_sigint_half_way_the_same_command_goes_on_to_the_same_folder(tmp_path):
    source = tmp_path / "SMOKE5K"
    for split in ("train", "test"):
        for number in range(PAIRS // 2):
            seed = number + PAIRS * (split == "test")
            save(source / f"{split}/img/{split}{number}.png", noisy(seed))
            save(source / f"{split}/gt/{split}{number}.png", rectangle(255, seed))
    half = tmp_path / "data.unfinished"
    running = start(source, tmp_path / "data", before=INTERRUPTED_HALF_WAY)
    _, said = running.communicate(timeout=60)
    assert running.returncode not in (0, None)
    assert "Traceback" not in said
    assert not (tmp_path / "data").exists()
    kept = {path.relative_to(half): path.stat().st_ino for path in half.rglob("*.png")}
    assert PAIRS // 2 <= len(kept) < PAIRS
    ended = start(source, tmp_path / "data")
    _, said = ended.communicate(timeout=120)
    assert ended.returncode == 0, said
    assert {name: (tmp_path / "data" / name).stat().st_ino for name in kept} == kept
    assert not half.exists()
    check_imported(tmp_path / "data")
    whole = start(source, tmp_path / "whole")
    _, said = whole.communicate(timeout=120)
    assert whole.returncode == 0, said
    assert contents(tmp_path / "data") == contents(tmp_path / "whole")


@contextlib.contextmanager
def no_right_to_write() -> Iterator[Path]:
    """Give a folder that may be read and not written, to root too while it is used."""
    folder = Path(tempfile.mkdtemp())
    effective = os.geteuid()
    try:
        yield folder
    finally:
        os.seteuid(effective)
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_destination_that_cannot_be_written_is_named(settings):
    with no_right_to_write() as folder:
        source = folder / "SMOKE5K"
        for split, stems in (("train", range(3)), ("test", range(3, 5))):
            for stem in stems:
                save(source / f"{split}/img/s{stem}.png", noisy(stem))
                save(source / f"{split}/gt/s{stem}.png", rectangle(255, stem))
        import_data(settings(source, tune="1", destination=folder / "first"))  # loads modules
        shutil.rmtree(folder / "first")
        (folder / "data").mkdir()
        before = sorted(path.name for path in folder.iterdir())
        folder.chmod(0o555)
        if os.geteuid() == 0:
            os.seteuid(65534)
        with pytest.raises(InputError, match=r"/data\.unfinished: cannot be written: .*denied"):
            import_data(settings(source, tune="1", destination=folder / "data"))
        assert sorted(path.name for path in folder.iterdir()) == before


def test_a_destination_below_a_file_is_named(smoke5k, settings, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=r"cannot be written"):
        import_data(settings(smoke5k, tune="2", destination=tmp_path / "file/data"))


def test_masks_of_a_half_import_are_not_taken_for_whole_ones(smoke5k, settings, tmp_path):
    """A mask that was written before the source changed is written again."""
    import_data(settings(smoke5k, tune="2"))
    half = tmp_path / "data.unfinished"
    (tmp_path / "data").rename(half)
    save(smoke5k / "train/gt/s0.png", np.full((20, 30), 255, np.uint8))
    with pytest.raises(InputError, match="half import"):
        import_data(settings(smoke5k, tune="2"))
