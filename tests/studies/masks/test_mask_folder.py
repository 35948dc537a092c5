"""A folder of masks: its record, what it refuses, and runs that go on."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import studies.masks.worker
from studies.masks.folder import make_missing_masks
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
    make_missing_masks(job, in_process=True)
    (tmp_path / "masks" / "deep").write_text("a file where a folder has to be")
    put(tmp_path / "images" / "deep" / "1.png", np.zeros((40, 40, 3), np.uint8))
    for in_process in (True, False):
        with pytest.raises(InputError, match=r"deep/1\.png: cannot be written: "):
            make_missing_masks(job, in_process=in_process)


def test_the_record_says_what_the_masks_are(crops, tmp_path):
    job = crops.job(tmp_path / "masks", MaskSelection(chain="PAR twice", seed=0))
    make_missing_masks(job, in_process=True)
    record = json.loads((tmp_path / "masks" / "masks.json").read_text())
    settings = record["settings"]
    assert (settings["study"], settings["seed"], settings["rule"]) == ("crops", 0, "tuned")
    assert [step["kind"] for step in settings["chain"]["steps"]] == ["par", "par"]
    assert record["values"][1] == {"value": 1, "name": "smoke", "colour": [128, 0, 0]}
    assert [one["value"] for one in record["values"]] == [0, 1, 255]
    assert record["ended_at"] is not None


@pytest.mark.parametrize("chain", [None, "PAR twice", "own"])
def test_threads_make_the_same_files_as_one(crops, tmp_path, chain, torch_threads):
    wish = MaskSelection(configuration="CNN alone", seed=0, chain=chain)
    for threads in (1, 2):
        torch_threads(threads)
        job = crops.job(tmp_path / str(threads), wish, soft=True)
        make_missing_masks(job, in_process=True, batch=2)
    assert len(pngs(tmp_path / "1")) == 12
    assert pngs(tmp_path / "2") == pngs(tmp_path / "1")


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
    make_missing_masks(crops.job(tmp_path / "masks"), in_process=True)
    before = pngs(tmp_path / "masks")
    with pytest.raises(InputError, match=said):
        make_missing_masks(
            crops.job(tmp_path / "masks", MaskSelection(configuration=name, **wish), **changes),
            in_process=True,
        )
    assert pngs(tmp_path / "masks") == before


def test_a_folder_with_other_things_in_it_is_refused(crops, tmp_path):
    put(tmp_path / "0.png", np.zeros((3, 3), np.uint8))
    with pytest.raises(InputError, match=r"holds '0\.png' and no masks\.json"):
        make_missing_masks(crops.job(tmp_path), in_process=True)


@pytest.mark.parametrize("inside", [".", "masks"])
def test_masks_do_not_go_where_the_images_are(crops, inside):
    with pytest.raises(InputError, match="lies in the folder of the images"):
        make_missing_masks(crops.job(crops.images / inside), in_process=True)


def test_two_images_of_one_mask_are_refused(crops, tmp_path):
    shutil.copytree(crops.images, tmp_path / "images")
    put(tmp_path / "images" / "0.jpg", np.zeros((9, 9, 3), np.uint8))
    job = dataclasses.replace(crops.job(tmp_path / "masks"), images=str(tmp_path / "images"))
    with pytest.raises(InputError, match=r"0\.png: same stem as 0\.jpg"):
        make_missing_masks(job, in_process=True)


def test_a_margin_that_cannot_be_is_refused_before_anything_is_made(crops, tmp_path):
    with pytest.raises(InputError, match="uncertain 2"):
        make_missing_masks(crops.job(tmp_path / "masks", uncertain=2.0), in_process=True)
    assert not (tmp_path / "masks").exists()


@pytest.mark.parametrize("finished", [1, 3, 5])
def test_broken_off_and_run_again_loses_and_repeats_nothing(crops, tmp_path, monkeypatch, finished):
    whole = crops.job(tmp_path / "whole", soft=True)
    make_missing_masks(whole, in_process=True)
    job = dataclasses.replace(whole, out=str(tmp_path / "masks"))
    write, written = studies.masks.worker.write_mask, []

    def break_off(mask, target: Path, unfinished: Path, origin, **more) -> None:
        if len(written) == finished:
            (unfinished / "half.png").write_bytes(b"half a file")
            raise KeyboardInterrupt
        written.append(target.name)
        write(mask, target, unfinished, origin, **more)

    monkeypatch.setattr(studies.masks.worker, "write_mask", break_off)
    with pytest.raises(KeyboardInterrupt):
        make_missing_masks(job, in_process=True, batch=2)
    record = json.loads((tmp_path / "masks" / "masks.json").read_text())
    assert record["ended_at"] is None
    assert len(written) == finished

    def go_on(mask, target: Path, unfinished: Path, origin, **more) -> None:
        written.append(target.name)
        write(mask, target, unfinished, origin, **more)

    monkeypatch.setattr(studies.masks.worker, "write_mask", go_on)
    made = make_missing_masks(job, in_process=True, batch=2)
    assert (made.there_before, made.written) == (finished, 6 - finished)
    assert sorted(written) == [f"{number}.png" for number in range(6)]
    assert pngs(tmp_path / "masks") == pngs(tmp_path / "whole")


def test_cut_and_changed_masks_and_those_of_replaced_images_are_made_again_and_counted(
    crops, wsss, tmp_path
):
    shutil.copytree(crops.images, tmp_path / "images")
    command = (
        "masks", crops.ran.results, "--images", tmp_path / "images", "--out", tmp_path / "masks",
        "--configuration", "CNN alone", "--seed", 0, "--soft", "--in-process",
    )  # fmt: skip
    assert wsss(*command).code == 0
    before = pngs(tmp_path / "masks")
    masks = [tmp_path / "masks" / f"{number}.png" for number in range(4)]
    masks[0].write_bytes(b"")
    masks[1].write_bytes(masks[1].read_bytes()[:40])
    masks[2].write_bytes(bytes(1024))
    (tmp_path / "masks" / "soft" / "smoke" / "3.png").write_bytes(masks[3].read_bytes()[:99])
    shutil.copy(tmp_path / "images" / "0.png", tmp_path / "images" / "4.png")
    ended = wsss(*command)
    assert (ended.code, ended.err) == (0, "")
    assert "6 images, 1 have their mask" in ended.out
    assert "4 masks are not as they were written; they are made again" in ended.out
    assert "1 were replaced since their mask was made; it is made again" in ended.out
    after = pngs(tmp_path / "masks")
    assert {name for name in before if before[name] != after[name]} == {"4.png", "soft/smoke/4.png"}
    assert after["4.png"] == after["0.png"]


def test_a_replaced_image_that_cannot_be_read_keeps_no_mask_of_its_former_self(crops, tmp_path):
    shutil.copytree(crops.images, tmp_path / "images")
    job = dataclasses.replace(crops.job(tmp_path / "masks"), images=str(tmp_path / "images"))
    make_missing_masks(job, in_process=True)
    (tmp_path / "images" / "2.png").write_bytes(b"no image")
    made = make_missing_masks(job, in_process=True)
    assert (made.replaced, made.written, list(made.failed)) == (1, 0, ["2.png"])
    assert not job.mask_file("2.png").exists()


def test_an_image_that_changes_while_its_mask_is_made_gets_none(crops, tmp_path, monkeypatch):
    shutil.copytree(crops.images, tmp_path / "images")
    job = dataclasses.replace(crops.job(tmp_path / "masks"), images=str(tmp_path / "images"))
    refined = studies.masks.worker.MaskWriter._refined

    def meanwhile(self, batch):
        shutil.copy(tmp_path / "images" / "0.png", tmp_path / "images" / "3.png")
        return refined(self, batch)

    monkeypatch.setattr(studies.masks.worker.MaskWriter, "_refined", meanwhile)
    made = make_missing_masks(job, in_process=True)
    assert made.failed == {"3.png": "the image changed while its mask was made; run again"}
    monkeypatch.undo()
    assert make_missing_masks(job, in_process=True).written == 1


def of_an_earlier_release(job) -> None:
    """Take the digests out of a folder of masks."""
    for file in Path(job.out).rglob("*.png"):
        with Image.open(file) as image:
            image.load()
            kept = PngInfo()
            kept.add_text("wsss-scores", image.info["wsss-scores"])
            image.save(file, pnginfo=kept)
    record = json.loads((Path(job.out) / "masks.json").read_text())
    del record["digest"]
    (Path(job.out) / "masks.json").write_text(json.dumps(record, indent=1) + "\n")


def test_masks_of_an_earlier_release_are_compared_once_and_get_their_digests(crops, tmp_path):
    shutil.copytree(crops.images, tmp_path / "images")
    job = dataclasses.replace(crops.job(tmp_path / "masks"), images=str(tmp_path / "images"))
    make_missing_masks(job, in_process=True)
    before = pngs(tmp_path / "masks")
    of_an_earlier_release(job)
    cut = job.mask_file("1.png")
    cut.write_bytes(cut.read_bytes()[:-20])
    Image.new("P", (3, 3)).save(job.mask_file("2.png"))
    shutil.copy(tmp_path / "images" / "0.png", tmp_path / "images" / "3.png")
    made = make_missing_masks(job, in_process=True)
    assert (made.there_before, made.written) == (3, 3)
    after = pngs(tmp_path / "masks")
    assert after["3.png"] == after["0.png"]
    assert {**after, "3.png": before["3.png"]} == before
    cut.write_bytes(cut.read_bytes()[:-20])
    assert make_missing_masks(job, in_process=True).corrupt == 1


def test_a_corrupt_record_is_written_again_beside_masks_of_its_settings_and_refused_beside_others(
    crops, tmp_path, caplog
):
    job = crops.job(tmp_path / "masks")
    make_missing_masks(job, in_process=True)
    record = tmp_path / "masks" / "masks.json"
    whole = record.read_bytes()
    for corrupt in (whole[:100], whole.replace(b'"seed": 0', b'"seed": 1'), b"", b"\xff"):
        record.write_bytes(corrupt)
        with pytest.raises(InputError, match=r"masks\.json: corrupt, and .*other settings"):
            make_missing_masks(dataclasses.replace(job, uncertain=0.1), in_process=True)
        record.write_bytes(corrupt)
        assert make_missing_masks(job, in_process=True).there_before == 6
        assert f"{record} is corrupt; it is written again" in caplog.text
        assert json.loads(record.read_bytes())["settings"] == json.loads(whole)["settings"]


def test_linked_folders_are_named_or_followed_each_once(crops, wsss, tmp_path):
    images, elsewhere = tmp_path / "images", tmp_path / "elsewhere"
    shutil.copytree(crops.images, images)
    put(elsewhere / "deep" / "far.png", np.zeros((40, 40, 3), np.uint8))
    (images / "a link").symlink_to(elsewhere)
    (images / "b link").symlink_to(elsewhere)
    (elsewhere / "deep" / "loop").symlink_to(images)
    command = (
        "masks", crops.ran.results, "--images", images, "--out", tmp_path / "masks",
        "--configuration", "CNN alone", "--in-process",
    )  # fmt: skip
    ended = wsss(*command)
    assert "2 linked folders were not searched: --follow-links searches them" in ended.out
    assert len(pngs(tmp_path / "masks")) == 6
    (images / "c link").symlink_to(tmp_path / "masks")
    ended = wsss(*command, "--follow-links")
    assert "7 images, 6 have their mask" in ended.out
    assert "not searched" not in ended.out
    assert set(pngs(tmp_path / "masks")) == {
        "a link/deep/far.png",
        *(f"{number}.png" for number in range(6)),
    }
