"""Masks of images that are seen through windows: as the study scored them, however large."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reports.results.reading import read_studies
from studies.masks.folder import make_missing_masks
from studies.masks.making import make_masks
from studies.masks.recipe import MaskSelection, choose_recipe
from studies.masks.worker import MaskJob
from wsss_core.data.framing import picture_rows
from wsss_core.errors import InputError
from wsss_core.tiling import Framing, TileSettings

TILES = Framing.chosen("tiles", TileSettings(24, 10), 32)


def values(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image)


def iou(mask: np.ndarray, truth: np.ndarray) -> float:
    return float((mask & truth).sum() / (mask | truth).sum())


def everything(folder: Path) -> dict[str, np.ndarray]:
    return {str(file.relative_to(folder)): values(file) for file in folder.rglob("*.png")}


@pytest.mark.ci
@pytest.mark.parametrize(
    "framing", [{"aspect": "pad"}, {"aspect": "tiles", "tiles": {"size": 24, "stride": 10}}]
)
def test_masks_of_windows_have_the_iou_that_was_scored(crops, run, shared_tiny, tmp_path, framing):
    study = {
        **shared_tiny,
        "data": {"source": "folder", "root": str(crops.root), "size": 32, **framing},
        "configurations": shared_tiny["configurations"][1:2],
        "refine": {
            "PAR": [{"par": {"iterations": 2, "dilations": [1, 2]}}],
            "own": ["multi_scale", {"fading_step:fade": {"strength": 0.5}}],
        },
    }
    ran = run(study, tmp_path / "results")
    (record,) = read_studies(ran.results)
    for chain in ("none", "PAR", "own"):
        out = tmp_path / chain
        made = make_masks(
            ran.results, crops.images, out, chain=chain, rule="tuned", in_process=True, soft=True
        )
        assert made.failed == {}
        trial = record.all_trials["ViT alone", 0, chain]
        level = int(trial.figure("level", rule="tuned", class_name="smoke"))
        scored = trial.figures.image_iou["student", "smoke"][:, level]
        for name, expected in zip(trial.figures.images["student", "smoke"], scored, strict=True):
            stem = Path(name).stem
            truth = values(crops.root / "test" / "masks" / f"{stem}.png") > 0
            mask = values(out / f"{stem}.png")
            assert mask.shape == truth.shape
            assert iou(mask == 1, truth) == expected
            assert np.array_equal(
                mask == 1, values(out / "soft" / "smoke" / f"{stem}.png") >= level
            )


@pytest.fixture
def squares(crops, tmp_path):
    """A folder of square images, and a job for their masks in a folder of this name."""
    random = np.random.default_rng(5)
    (tmp_path / "squares").mkdir()
    for number in range(2):
        pixels = random.integers(0, 256, (48, 48, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "squares" / f"{number}.png")
    wish = MaskSelection(configuration="CNN alone", seed=0, chain="PAR")
    recipe, _ = choose_recipe(crops.ran.results, crops.ran.store, wish)

    def job(out, **changes):
        return MaskJob(recipe, str(tmp_path / "squares"), str(tmp_path / out), soft=True, **changes)

    return job


def test_where_one_window_covers_the_image_masks_are_those_of_the_squashed_image(squares, tmp_path):
    whole = Framing.chosen("tiles", TileSettings(48), 32)
    for out, framing in (("plain", Framing()), ("tiles", whole), ("pad", Framing("pad"))):
        assert make_missing_masks(squares(out, framing=framing), in_process=True).failed == {}
    expected = everything(tmp_path / "plain")
    assert len(expected) == 4
    for out in ("tiles", "pad"):
        found = everything(tmp_path / out)
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_masks_read_by_strips_are_those_of_images_decoded_as_a_whole(
    squares, tmp_path, monkeypatch
):
    assert make_missing_masks(squares("whole", framing=TILES), in_process=True).failed == {}
    monkeypatch.setattr(picture_rows, "SMALL_PNG", 0)
    monkeypatch.setattr(picture_rows, "STRIP_ROWS", 7)
    monkeypatch.delattr(picture_rows, "decode_image")
    made = make_missing_masks(squares("strips", framing=TILES), in_process=True)
    assert made.failed == {}
    whole, strips = everything(tmp_path / "whole"), everything(tmp_path / "strips")
    assert whole.keys() == strips.keys()
    assert all(np.array_equal(whole[name], strips[name]) for name in whole)
    assert made.counts.masks == 2


def test_a_second_run_makes_nothing_and_other_windows_are_refused(squares, tmp_path):
    make_missing_masks(squares("out", framing=TILES), in_process=True)
    again = make_missing_masks(squares("out", framing=TILES), in_process=True)
    assert (again.written, again.there_before) == (0, 2)
    (tmp_path / "out" / "1.png").write_bytes(b"cut off")
    assert make_missing_masks(squares("out", framing=TILES), in_process=True).corrupt == 1
    with pytest.raises(InputError, match=r"were made with framing \{'aspect': 'tiles'"):
        make_missing_masks(squares("out"), in_process=True)


def test_an_image_that_changes_meanwhile_gets_no_mask(squares, tmp_path, monkeypatch):
    import studies.masks.windowed as windowed

    files = tmp_path / "squares"
    original = windowed.base_scores

    def meanwhile(*given):
        (files / "0.png").write_bytes((files / "1.png").read_bytes())
        return original(*given)

    monkeypatch.setattr(windowed, "base_scores", meanwhile)
    made = make_missing_masks(squares("out", framing=TILES), in_process=True)
    assert made.failed == {"0.png": "the image changed while its mask was made; run again"}
    assert sorted(everything(tmp_path / "out")) == ["1.png", "soft/smoke/1.png"]


def test_an_image_that_cannot_be_read_is_named(squares, tmp_path):
    (tmp_path / "squares" / "0.png").write_bytes(b"no image")
    made = make_missing_masks(squares("out", framing=TILES), in_process=True)
    assert list(made.failed) == ["0.png"]
    assert "not an image" in made.failed["0.png"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tile-size", "8", "--tile-stride", "9"], "stride 9 is larger than the size 8"),
        (["--tile-stride", "33"], "stride 33 is larger than the size 32"),
        (["--aspect", "pad", "--tile-size", "8"], "aspect is pad; expected aspect: tiles"),
        (["--tile-size", "0"], "size 0, expected 1 or more"),
        (["--tile-size", "5000"], "size 5000 is larger than every image of"),
        (["--aspect", "crop"], "invalid choice: 'crop'"),
    ],
)
def test_windows_that_cannot_be_meant_are_refused_before_any_work(
    crops, wsss, tmp_path, options, said
):
    ended = wsss(
        "masks", crops.ran.results, "--images", crops.images, "--out", tmp_path / "out",
        "--configuration", "CNN alone", "--in-process", *options,
    )  # fmt: skip
    assert ended.code == 2
    assert said in ended.err.strip().splitlines()[-1]
    assert not list((tmp_path / "out").glob("*.png"))


def test_a_segmenter_sees_large_images_through_windows(squares, crops, tmp_path, monkeypatch):
    import torch

    from studies.masks.making import make_segmenter_masks
    from wsss_core.segmentation import (
        SegmenterSettings,
        build_segmenter,
        predict_masks,
        save_segmenter,
    )

    torch.manual_seed(0)
    tiny = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
    settings = SegmenterSettings(
        "setr_naive", "vit_tiny_patch16_224", options={"width": 16}, encoder_options=tiny
    )
    segmenter = build_segmenter(settings, classes=2, image_size=16)
    save_segmenter(segmenter, tmp_path / "a.safetensors")
    images = tmp_path / "squares"

    def masks(out, **framing):
        made = make_segmenter_masks(
            tmp_path / "a.safetensors", images, tmp_path / out, in_process=True, **framing
        )
        assert made.failed == {}
        return everything(tmp_path / out)

    plain, whole = masks("plain"), masks("whole", tiles=TileSettings(48))
    assert all(np.array_equal(plain[name], whole[name]) for name in plain)
    monkeypatch.setattr(picture_rows, "SMALL_PNG", 0)
    strips = masks("strips", tiles=TileSettings(16, 16))
    for name, mask in strips.items():
        pixels = np.asarray(Image.open(images / name))
        for top in range(0, 48, 16):
            for left in range(0, 48, 16):
                place = np.s_[top : top + 16, left : left + 16]
                expected = next(predict_masks(segmenter, pixels[place][None]))
                assert np.array_equal(mask[place], expected)
