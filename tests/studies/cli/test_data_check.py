"""`wsss data check` prints every finding, and ends with 2 where a study would be refused."""

import shutil

import numpy as np
from PIL import Image


def test_a_folder_with_faults_is_listed_and_ends_with_one_line(wsss, smoke_folder):
    for name in ("a", "b"):
        (smoke_folder / "train" / "smoke" / f"{name}.png").write_bytes(b"")
    (smoke_folder / "test" / "masks" / "a.png").unlink()
    ended = wsss("data", "check", smoke_folder)
    assert ended.code == 2
    assert "2 faults" in ended.out
    listed = [line.split() for line in ended.out.splitlines() if line.startswith("refused")]
    assert [row[2] for row in listed] == ["2", "1"]
    assert ended.err.count("\n") == 1
    assert ended.err.startswith(f"wsss: {smoke_folder}/train/smoke/a.png: ")
    assert ended.err.endswith("(and 1 more, all *.png); and 1 more fault, see above\n")


def test_warnings_alone_are_listed_and_end_well(wsss, smoke_folder):
    shutil.copy(smoke_folder / "train/smoke/a.png", smoke_folder / "test/clear/z.png")
    ended = wsss("data", "check", smoke_folder)
    assert (ended.code, ended.err) == (0, "")
    assert "of 4 images are in train too, byte by byte" in ended.out


def test_objects_are_judged_at_the_size_that_is_asked(wsss, smoke_folder):
    at = {size: wsss("data", "check", smoke_folder, "--size", size).out for size in (16, 224)}
    assert "small at 16x16 pixels" in at[16]
    assert "small at" not in at[224]
    assert wsss("data", "check", smoke_folder, "--size", 0).code == 2


def test_a_published_layout_is_named_with_the_command_by_check_and_plan(
    wsss, tmp_path, folder_study, write_study
):
    root = tmp_path / "SMOKE5K"
    for split in ("train", "test"):
        for folder, mode in (("img", "RGB"), ("gt", "L")):
            (root / split / folder).mkdir(parents=True)
            for stem in ("a", "b"):
                pixels = np.zeros((16, 16, 3) if mode == "RGB" else (16, 16), np.uint8)
                pixels[4:9, 4:9] = 255
                suffix = ".jpg" if mode == "RGB" else ".png"
                Image.fromarray(pixels).save(root / split / folder / f"{stem}{suffix}")
    folder_study["data"]["root"] = str(root)
    for arguments in (("data", "check", root), ("plan", write_study(folder_study))):
        ended = wsss(*arguments)
        assert ended.code == 2
        assert "its layout is smoke5k" in ended.err
        assert f"`wsss data import {root} DATA --tune 0.1`" in ended.err
        assert ended.err.count("\n") == 1


def test_an_annotation_file_is_not_said_to_be_missing(wsss, tmp_path):
    file = tmp_path / "labels.json"
    file.write_text("{}")
    ended = wsss("data", "check", file)
    assert ended.code == 2
    assert "a file, expected a data folder" in ended.err
