"""Annotation files beside the masks of a folder: equal to the PNGs, written again when asked."""

import contextlib
import dataclasses
import io
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

import studies.masks.annotating
from studies.masks.annotating import annotation_formats
from studies.masks.files import read_mask_parts
from studies.masks.folder import make_missing_masks
from wsss_core.data.annotations import AnnotationFormat
from wsss_core.errors import InputError

ALL = tuple(AnnotationFormat)
JSON = "annotations/instances_default.json"


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.array(opened)


def painted(file: Path) -> dict[str, np.ndarray]:
    """Image -> the mask that pycocotools decodes its annotations to."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(file))
    found = {}
    for image in coco.dataset["images"]:
        mask = np.zeros((image["height"], image["width"]), np.uint8)
        for annotation in coco.imgToAnns[image["id"]]:
            mask[coco.annToMask(annotation).astype(bool)] = annotation["category_id"]
        found[image["file_name"]] = mask
    return found


@pytest.fixture(scope="module")
def made(finished_crops, tmp_path_factory):
    """Masks with undecided pixels in all formats, and their scores."""
    out = tmp_path_factory.mktemp("annotated") / "masks"
    job = finished_crops.job(out, soft=True, uncertain=0.05)
    make_missing_masks(job, in_process=True, formats=ALL)
    return job


def test_run_lengths_are_the_pixels_of_the_pngs(made):
    found = painted(Path(made.out) / "coco" / JSON)
    assert set(found) == {f"{number}.png" for number in range(6)}
    for name, mask in found.items():
        np.testing.assert_array_equal(mask, pixels(made.mask_file(name)))


def test_a_score_is_the_mean_of_the_soft_map_over_the_part(made):
    file = Path(made.out) / "coco" / JSON
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(file))
    names = {image["id"]: image["file_name"] for image in coco.dataset["images"]}
    scored = [one for one in coco.dataset["annotations"] if one["category_id"] != 255]
    assert scored
    for one in scored:
        soft = pixels(made.soft_file(names[one["image_id"]], "smoke")) / 255
        mean = soft[coco.annToMask(one).astype(bool)].mean()
        assert one["score"] == one["attributes"]["score"] == pytest.approx(mean, abs=1e-4)
    assert all("score" not in one for one in coco.dataset["annotations"] if one not in scored)


def test_polygons_and_run_lengths_list_the_same_parts(made):
    of = [json.loads((Path(made.out) / kind / JSON).read_text()) for kind in ALL[:2]]
    assert of[0]["images"] == of[1]["images"]
    for exact, outline in zip(of[0]["annotations"], of[1]["annotations"], strict=True):
        assert isinstance(outline.pop("segmentation")[0][0], float)
        del exact["segmentation"]
        assert exact == outline


def test_voc_has_the_same_masks_lists_and_boxes(made):
    voc = Path(made.out) / "voc"
    assert (voc / "ImageSets/Segmentation/default.txt").read_text().split() == list("012345")
    assert (voc / "labelmap.txt").read_text().splitlines()[1:] == [
        "background:0,0,0::", "smoke:128,0,0::", "ignore:224,224,192::",
    ]  # fmt: skip
    for number in range(6):
        mask = pixels(made.mask_file(f"{number}.png"))
        np.testing.assert_array_equal(pixels(voc / f"SegmentationClass/{number}.png"), mask)
        covered = np.zeros(mask.shape, bool)
        tree = ElementTree.parse(voc / f"Annotations/{number}.xml")
        size = [int(tree.findtext(f"size/{side}")) for side in ("height", "width")]
        assert size == list(mask.shape)
        for one in tree.iter("object"):
            box = [int(one.findtext(f"bndbox/{c}")) for c in ("xmin", "ymin", "xmax", "ymax")]
            inside = mask[box[1] - 1 : box[3], box[0] - 1 : box[2]] == 1
            assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
            covered[box[1] - 1 : box[3], box[0] - 1 : box[2]] = True
        assert covered[mask == 1].all()


@pytest.mark.ci
def test_a_format_that_is_asked_for_later_takes_the_masks_that_are_there(crops, tmp_path):
    job = crops.job(tmp_path / "masks")
    make_missing_masks(job, in_process=True)
    times = {name: job.mask_file(name).stat().st_mtime_ns for name in ("0.png", "5.png")}
    made = make_missing_masks(job, in_process=True, formats=ALL[:1])
    assert (made.written, made.there_before) == (0, 6)
    assert made.annotations == (tmp_path / "masks/coco" / JSON,)
    assert all(job.mask_file(name).stat().st_mtime_ns == time for name, time in times.items())
    annotations = json.loads(made.annotations[0].read_text())["annotations"]
    assert all("score" in one for one in annotations)


@pytest.mark.ci
def test_a_run_that_dies_while_it_writes_them_leaves_the_old_file_and_goes_on_later(
    crops, tmp_path, monkeypatch
):
    whole = crops.job(tmp_path / "whole")
    make_missing_masks(whole, in_process=True, formats=ALL)
    job = dataclasses.replace(whole, out=str(tmp_path / "masks"))
    read, done = read_mask_parts, []

    def die(file: Path):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(file)
        return read(file)

    monkeypatch.setattr(studies.masks.annotating, "THREADS", 1)
    monkeypatch.setattr(studies.masks.annotating, "IN_MEMORY", 1)
    monkeypatch.setattr(studies.masks.annotating, "read_mask_parts", die)
    with pytest.raises(KeyboardInterrupt):
        make_missing_masks(job, in_process=True, formats=ALL)
    assert not (tmp_path / "masks/coco" / JSON).exists()
    monkeypatch.undo()
    monkeypatch.chdir(crops.plugin)
    make_missing_masks(job, in_process=True, formats=ALL)
    for kind in ALL[:2]:
        written = [(tmp_path / out / kind / JSON).read_bytes() for out in ("whole", "masks")]
        assert written[0] == written[1]
    files = [
        {f.relative_to(tmp_path / out).as_posix() for f in (tmp_path / out).rglob("*")}
        for out in ("whole", "masks")
    ]
    assert files[0] == files[1]


@pytest.mark.ci
def test_masks_of_an_earlier_release_come_without_scores(crops, tmp_path):
    job = crops.job(tmp_path / "masks")
    make_missing_masks(job, in_process=True)
    for number in range(6):
        file = job.mask_file(f"{number}.png")
        Image.fromarray(pixels(file)).save(file)
    record = json.loads((tmp_path / "masks" / "masks.json").read_text())
    del record["digest"]
    (tmp_path / "masks" / "masks.json").write_text(json.dumps(record))
    made = make_missing_masks(job, in_process=True, formats=ALL[:1])
    assert made.there_before == 6
    annotations = json.loads(made.annotations[0].read_text())["annotations"]
    assert annotations
    assert not any("score" in one for one in annotations)


@pytest.mark.ci
def test_the_command_writes_them_and_says_where(crops, wsss, tmp_path):
    ended = wsss(
        "masks", crops.ran.results, "--images", crops.images, "--out", tmp_path / "masks",
        "--configuration", "ViT alone", "--in-process", "--format", "coco", "--format", "voc",
    )  # fmt: skip
    assert ended.code == 0
    assert f"annotations written to {tmp_path / 'masks/coco' / JSON}\n" in ended.out
    assert f"annotations written to {tmp_path / 'masks/voc'}\n" in ended.out
    assert (tmp_path / "masks/coco" / JSON).is_file()


def test_an_unknown_format_is_refused_in_a_line(crops, wsss, tmp_path):
    ended = wsss(
        "masks", crops.ran.results, "--images", crops.images, "--out", tmp_path / "masks",
        "--format", "cocoa",
    )  # fmt: skip
    assert ended.code == 2
    assert "coco-polygons" in ended.err
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("names", "classes", "said"),
    [
        (
            ["cocoa"],
            ["smoke"],
            "format 'cocoa': expected coco, coco-polygons, voc; nearest: 'coco'",
        ),
        (["voc"], [str(n) for n in range(255)], "255 classes: expected at most 254 in a palette"),
        (["coco"], ["ignore"], "class 'ignore': expected another name"),
        (["voc"], ["a:b"], "class 'a:b': expected another name"),
    ],
)
def test_formats_that_cannot_be_written_are_refused(names, classes, said):
    with pytest.raises(InputError) as raised:
        annotation_formats(names, classes)
    assert said in str(raised.value)
