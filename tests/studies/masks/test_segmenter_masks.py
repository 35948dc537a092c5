"""`wsss masks --segmenter FILE`: masks of a folder by a trained segmenter."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import studies.masks.segmenting
from studies.masks.making import make_segmenter_masks
from studies.masks.segmenting import most_probable
from wsss_core.errors import InputError
from wsss_core.segmentation import (
    SegmenterSettings,
    build_segmenter,
    load_segmenter,
    predict_masks,
    predict_probabilities,
    save_segmenter,
)

SIZE = 32
SMALL = {"patch_size": 8, "embed_dim": 24, "depth": 4, "num_heads": 3}
SETTINGS = SegmenterSettings(
    "setr_pup",
    "vit_tiny_patch16_224",
    options={"width": 16, "auxiliary": False},
    encoder_options=SMALL,
)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.array(opened)


def saved(file: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    segmenter = build_segmenter(SETTINGS, classes=2, image_size=SIZE)
    with torch.no_grad():
        for parameter in segmenter.head_parameters():
            parameter.mul_(3)  # so that every class wins somewhere
    segmenter.class_names = ("smoke", "steam")
    save_segmenter(segmenter, file)
    return file


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("segmenter") / "seg.safetensors")


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for number in range(5):
        shape = (20 + 9 * number, 60 - 7 * number)
        coarse = Image.fromarray(random.integers(0, 256, (4, 4, 3), np.uint8))
        (folder / "cam").mkdir(exist_ok=True)
        place = folder / "cam" if number % 2 else folder
        coarse.resize(shape[::-1], Image.Resampling.BICUBIC).save(place / f"{number}.png")
    return folder


def expected(file: Path, images: Path) -> dict[str, np.ndarray]:
    """Image -> probabilities at its size, one image at a time, read by Pillow alone."""
    segmenter, found = load_segmenter(file), {}
    for image in sorted(images.rglob("*.png")):
        with Image.open(image) as opened:
            small = np.asarray(opened.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
            size = opened.size[::-1]
        (one,) = predict_probabilities(segmenter, small[np.newaxis], [size])
        found[image.relative_to(images).as_posix()] = one
    return found


def test_masks_are_the_segmenter_s_at_each_image_s_own_size(file, images, tmp_path):
    made = make_segmenter_masks(file, images, tmp_path / "out", in_process=True, batch=2, soft=True)
    assert (made.written, made.failed) == (5, {})
    seen: set[int] = set()
    for name, probabilities in expected(file, images).items():
        mask = pixels(tmp_path / "out" / name)
        np.testing.assert_array_equal(mask, probabilities.argmax(0))
        seen |= set(np.unique(mask).tolist())
        for code, class_name in ((1, "smoke"), (2, "steam")):
            soft = pixels(tmp_path / "out" / "soft" / class_name / name)
            np.testing.assert_allclose(soft / 255, probabilities[code], atol=1 / 255)
    assert len(seen) > 1
    record = json.loads((tmp_path / "out" / "masks.json").read_text())
    assert record["settings"]["classes"] == ["smoke", "steam"]
    assert [value["name"] for value in record["values"]][1:3] == ["smoke", "steam"]


def test_threads_make_the_same_files_as_one(file, images, tmp_path, torch_threads):
    torch_threads(2)
    make_segmenter_masks(file, images, tmp_path / "two", in_process=True, batch=1, soft=True)
    torch_threads(1)
    make_segmenter_masks(file, images, tmp_path / "one", in_process=True, batch=1, soft=True)
    made = sorted((tmp_path / "one").rglob("*.png"))
    assert len(made) == 15
    for one in made:
        two = tmp_path / "two" / one.relative_to(tmp_path / "one")
        assert two.read_bytes() == one.read_bytes()


def test_bfloat16_is_asked_for_and_part_of_the_record(file, images, wsss, tmp_path):
    given = ("masks", "--segmenter", file, "--images", images, "--in-process", "--soft")
    for precision in ("fp32", "bf16"):
        out = tmp_path / precision
        assert wsss(*given, "--out", out, "--precision", precision).code == 0
    records = {p: json.loads((tmp_path / p / "masks.json").read_text()) for p in ("fp32", "bf16")}
    assert records["fp32"]["settings"]["prediction"] == {}
    assert records["bf16"]["settings"]["prediction"] == {"precision": "bf16"}
    differ = 0
    for name, probabilities in expected(file, images).items():
        soft = pixels(tmp_path / "bf16" / "soft" / "smoke" / name) / 255
        assert np.abs(soft - probabilities[1]).mean() < 0.01
        differ += int((soft != pixels(tmp_path / "fp32" / "soft" / "smoke" / name) / 255).sum())
    assert differ > 0  # the network did run in bfloat16
    other = wsss(*given, "--out", tmp_path / "fp32", "--precision", "bf16")
    assert other.code == 2
    assert "prediction" in other.err


def test_a_second_run_makes_what_is_missing_and_another_segmenter_is_refused(
    file, images, tmp_path
):
    make_segmenter_masks(file, images, tmp_path / "out", in_process=True)
    kept = (tmp_path / "out" / "0.png").stat().st_mtime_ns
    (tmp_path / "out" / "cam" / "1.png").unlink()
    again = make_segmenter_masks(file, images, tmp_path / "out", in_process=True)
    assert (again.written, again.there_before) == (1, 4)
    assert (tmp_path / "out" / "0.png").stat().st_mtime_ns == kept
    with pytest.raises(InputError, match="the masks there were made with segmenter"):
        make_segmenter_masks(
            saved(tmp_path / "other.safetensors", seed=1), images, tmp_path / "out", in_process=True
        )


def test_a_run_that_is_broken_off_goes_on(file, images, tmp_path, monkeypatch):
    write, written = studies.masks.segmenting.write_mask_files, []

    def die(job, name, *arguments) -> None:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(name)
        write(job, name, *arguments)

    monkeypatch.setattr(studies.masks.segmenting, "write_mask_files", die)
    with pytest.raises(KeyboardInterrupt):
        make_segmenter_masks(file, images, tmp_path / "out", in_process=True)
    monkeypatch.undo()
    made = make_segmenter_masks(file, images, tmp_path / "out", in_process=True)
    assert (made.written, made.there_before) == (2, 3)


def test_undecided_are_pixels_whose_two_best_classes_are_near(file, images, tmp_path):
    make_segmenter_masks(file, images, tmp_path / "out", in_process=True, uncertain=0.05)
    for name, probabilities in expected(file, images).items():
        ordered = np.sort(probabilities, axis=0)
        near = ordered[-1] - ordered[-2] < 0.1
        mask = pixels(tmp_path / "out" / name)
        np.testing.assert_array_equal(mask == 255, near)
        np.testing.assert_array_equal(mask[~near], probabilities.argmax(0)[~near])


def test_labels_leave_the_other_classes_without_pixels(file, images, tmp_path):
    labels = {f"{number}.png": ["steam"] if number < 4 else [] for number in range(5)}
    make_segmenter_masks(file, images, tmp_path / "out", in_process=True, labels=labels)
    for name, probabilities in expected(file, images).items():
        mask = pixels(tmp_path / "out" / name)
        allowed = [0, 2] if Path(name).name != "4.png" else [0]
        best = np.array(allowed)[probabilities[allowed].argmax(0)]
        np.testing.assert_array_equal(mask, best)


def test_an_image_that_cannot_be_read_is_named_and_the_others_get_their_masks(
    file, images, wsss, tmp_path
):
    shutil.copytree(images, tmp_path / "images")
    (tmp_path / "images" / "0.png").write_bytes(b"none")
    ended = wsss(
        "masks", "--segmenter", file, "--images", tmp_path / "images", "--out", tmp_path / "out",
        "--in-process", "--format", "coco",
    )  # fmt: skip
    assert ended.code == 1
    assert ended.err.startswith("failed: 0.png: ")
    assert "4 masks written to" in ended.out
    listed = json.loads((tmp_path / "out/coco/annotations/instances_default.json").read_text())
    assert len(listed["images"]) == 4
    assert [one["name"] for one in listed["categories"]] == ["smoke", "steam"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["results", "--segmenter", "FILE"],
            "wsss: RESULTS: the file of --segmenter is all that makes the masks",
        ),
        (["--segmenter", "FILE", "--chain", "CRF"], "wsss: --chain: the file of --segmenter is"),
        (
            ["--segmenter", "/none.safetensors"],
            "wsss: segmenter file /none.safetensors: no such file",
        ),
        ([], "wsss: RESULTS: expected the folder of a study, or --segmenter FILE"),
        (["results", "--precision", "bf16"], "wsss: --precision: is a segmenter's"),
    ],
)
def test_what_does_not_go_together_is_said_in_a_line(arguments, said, file, images, wsss, tmp_path):
    words = [str(file) if word == "FILE" else word for word in arguments]
    ended = wsss("masks", *words, "--images", images, "--out", tmp_path / "out", "--in-process")
    assert ended.code == 2
    assert ended.err.startswith(said)
    assert len(ended.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.ci
def test_ray_makes_the_same_files_as_one_process(file, images, tmp_path, ray_here):
    for out, in_process in (("one", True), ("ray", False)):
        make_segmenter_masks(file, images, tmp_path / out, in_process=in_process, batch=2)
    for name in expected(file, images):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_equal_probabilities_go_to_the_first_class():
    assert most_probable(np.full((3, 1, 2), 1 / 3)).tolist() == [[0, 0]]


def test_predict_masks_agrees(file, images):
    segmenter = load_segmenter(file)
    small = np.random.default_rng(3).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
    for mask, probabilities in zip(
        predict_masks(segmenter, small), predict_probabilities(segmenter, small), strict=True
    ):
        np.testing.assert_array_equal(mask, most_probable(probabilities))


@pytest.mark.ci
def test_the_command_exports_a_file_and_prints_its_place(file, wsss, tmp_path):
    shutil.copy(file, tmp_path / "seg.safetensors")
    ended = wsss("segment", "export", tmp_path / "seg.safetensors", "--to", "torchscript")
    assert (ended.code, ended.out) == (0, f"{tmp_path / 'seg.pt'}\n")
    assert "read back: probabilities of" in ended.err
    assert "latency of one image of 32 px" in ended.err
    missing = wsss("segment", "export", tmp_path / "none.safetensors")
    assert missing.code == 2
    assert len(missing.err.splitlines()) == 1
