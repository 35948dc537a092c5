"""A folder of masks: its record, what it refuses, and runs that go on."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import studies.masks.worker
from studies.masks.folder import make_masks
from studies.masks.recipe import MaskSelection
from wsss_core.errors import InputError


def put(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def pngs(folder: Path) -> dict[str, bytes]:
    """Every PNG below a folder, by relative path."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*.png")
    }


def test_bad_images_are_named_fail_the_command_and_keep_no_other_from_its_mask(
    crops, wsss, tmp_path
):
    shutil.copytree(crops.images, tmp_path / "images" / "deep" / "er")
    (tmp_path / "images" / "deep" / "broken.jpg").write_bytes(b"no image")
    os.mkfifo(tmp_path / "images" / "deep" / "pipe.png")
    (tmp_path / "images" / "notes.txt").write_text("none either")
    command = (
        "masks", crops.ran.results, "--images", tmp_path / "images", "--out", tmp_path / "masks",
        "--configuration", "ViT alone", "--in-process", "--batch", 3,
    )  # fmt: skip
    ended = wsss(*command)
    broken = tmp_path / "images" / "deep" / "broken.jpg"
    assert ended.code == 1
    pipe = tmp_path / "images" / "deep" / "pipe.png"
    assert ended.err == (
        f"failed: deep/broken.jpg: {broken}: not an image, expected JPEG, PNG, WEBP, BMP or TIFF\n"
        f"failed: deep/pipe.png: {pipe}: expected a regular file, no folder, pipe, device or "
        "socket\n"
    )
    assert set(pngs(tmp_path / "masks")) == {f"deep/er/{number}.png" for number in range(6)}
    record = json.loads((tmp_path / "masks" / "masks.json").read_text())
    assert record["counts"] == {"images": 8, "masks": 6, "failed": 2}
    assert list(record["failed"]) == ["deep/broken.jpg", "deep/pipe.png"]
    broken.unlink()
    pipe.unlink()
    again = wsss(*command)
    assert (again.code, again.err) == (0, "")
    assert "6 images, 6 have their mask" in again.out


@pytest.mark.ci
def test_a_mask_that_cannot_be_written_ends_the_run_with_one_line(crops, tmp_path, ray_here):
    put(tmp_path / "images" / "0.png", np.zeros((40, 40, 3), np.uint8))
    job = dataclasses.replace(crops.job(tmp_path / "masks"), images=str(tmp_path / "images"))
    make_masks(job, in_process=True)
    (tmp_path / "masks" / "deep").write_text("a file where a folder has to be")
    put(tmp_path / "images" / "deep" / "1.png", np.zeros((40, 40, 3), np.uint8))
    for in_process in (True, False):
        with pytest.raises(InputError, match=r"deep/1\.png: cannot be written: "):
            make_masks(job, in_process=in_process)


def test_the_record_says_what_the_masks_are(crops, tmp_path):
    job = crops.job(tmp_path / "masks", MaskSelection(chain="PAR twice", seed=0))
    make_masks(job, in_process=True)
    record = json.loads((tmp_path / "masks" / "masks.json").read_text())
    settings = record["settings"]
    assert (settings["study"], settings["seed"], settings["rule"]) == ("crops", 0, "tuned")
    assert [step["kind"] for step in settings["chain"]["steps"]] == ["par", "par"]
    assert record["values"][1] == {"value": 1, "name": "smoke", "colour": [128, 0, 0]}
    assert [one["value"] for one in record["values"]] == [0, 1, 255]
    assert record["ended_at"] is not None


@pytest.mark.parametrize(
    ("wish", "changes", "said"),
    [
        ({"seed": 1}, {}, "the masks there were made with seed 0, asked for is 1"),
        ({"seed": 0, "threshold": 0.9}, {}, "made with rule 'tuned', asked for is 'given'"),
        ({"seed": 0}, {"soft": True}, "made with soft False, asked for is True"),
    ],
)
def test_masks_of_other_settings_are_not_mixed_in(crops, tmp_path, wish, changes, said):
    name = "CNN alone"
    make_masks(crops.job(tmp_path / "masks"), in_process=True)
    before = pngs(tmp_path / "masks")
    with pytest.raises(InputError, match=said):
        make_masks(
            crops.job(tmp_path / "masks", MaskSelection(configuration=name, **wish), **changes),
            in_process=True,
        )
    assert pngs(tmp_path / "masks") == before


def test_a_folder_with_other_things_in_it_is_refused(crops, tmp_path):
    put(tmp_path / "0.png", np.zeros((3, 3), np.uint8))
    with pytest.raises(InputError, match=r"holds '0\.png' and no masks\.json"):
        make_masks(crops.job(tmp_path), in_process=True)


@pytest.mark.parametrize("inside", [".", "masks"])
def test_masks_do_not_go_where_the_images_are(crops, inside):
    with pytest.raises(InputError, match="lies in the folder of the images"):
        make_masks(crops.job(crops.images / inside), in_process=True)


def test_two_images_of_one_mask_are_refused(crops, tmp_path):
    shutil.copytree(crops.images, tmp_path / "images")
    put(tmp_path / "images" / "0.jpg", np.zeros((9, 9, 3), np.uint8))
    job = dataclasses.replace(crops.job(tmp_path / "masks"), images=str(tmp_path / "images"))
    with pytest.raises(InputError, match=r"0\.png: same stem as 0\.jpg"):
        make_masks(job, in_process=True)


def test_a_margin_that_cannot_be_is_refused_before_anything_is_made(crops, tmp_path):
    with pytest.raises(InputError, match="uncertain 2"):
        make_masks(crops.job(tmp_path / "masks", uncertain=2.0), in_process=True)
    assert not (tmp_path / "masks").exists()


@pytest.mark.parametrize("finished", [1, 3, 5])
def test_broken_off_and_run_again_loses_and_repeats_nothing(crops, tmp_path, monkeypatch, finished):
    whole = crops.job(tmp_path / "whole", soft=True)
    make_masks(whole, in_process=True)
    job = dataclasses.replace(whole, out=str(tmp_path / "masks"))
    write, written = studies.masks.worker.write_mask, []

    def break_off(mask: np.ndarray, target: Path, unfinished: Path) -> None:
        if len(written) == finished:
            (unfinished / "half.png").write_bytes(b"half a file")
            raise KeyboardInterrupt
        written.append(target.name)
        write(mask, target, unfinished)

    monkeypatch.setattr(studies.masks.worker, "write_mask", break_off)
    with pytest.raises(KeyboardInterrupt):
        make_masks(job, in_process=True, batch=2)
    record = json.loads((tmp_path / "masks" / "masks.json").read_text())
    assert record["ended_at"] is None
    assert len(written) == finished

    def go_on(mask: np.ndarray, target: Path, unfinished: Path) -> None:
        written.append(target.name)
        write(mask, target, unfinished)

    monkeypatch.setattr(studies.masks.worker, "write_mask", go_on)
    made = make_masks(job, in_process=True, batch=2)
    assert (made.there_before, made.written) == (finished, 6 - finished)
    assert sorted(written) == [f"{number}.png" for number in range(6)]
    assert pngs(tmp_path / "masks") == pngs(tmp_path / "whole")
