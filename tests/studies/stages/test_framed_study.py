"""Studies whose images are padded or seen through tiles, run in this process."""

import copy

import numpy as np
import pytest
from PIL import Image

from reports.ledger.parts import read_table
from studies.planning.images import study_images
from studies.spec.study import Study
from wsss_core.data.framing import read_framed
from wsss_core.errors import InputError
from wsss_core.tiling import Framing, cut_view


def write_folder(root, shapes, seed=0):
    """A data folder whose tune and test images have these shapes, and its training images too."""
    random = np.random.default_rng(seed)

    def put(file, pixels):
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)

    for number, shape in enumerate(shapes):
        for kind in ("smoke", "clear"):
            pixels = random.integers(0, 256, (*shape, 3), np.uint8)
            put(root / "train" / kind / f"{number}.png", pixels)
        for split in ("tune", "test"):
            mask = np.zeros(shape, np.uint8)
            mask[: shape[0] // 2, shape[1] // 3 :] = 255
            pixels = random.integers(0, 256, (*shape, 3), np.uint8)
            put(root / split / "images" / f"{number}.png", pixels)
            put(root / split / "masks" / f"{number}.png", mask)


def study_of(tiny, root, **data):
    study = copy.deepcopy(tiny)
    study["data"] = {"source": "folder", "root": str(root), "size": 32, **data}
    study["configurations"] = study["configurations"][:1]
    study["refine"] = {
        "PAR": [{"par": {"iterations": 2, "dilations": [1, 2]}}],
        "scales": ["multi_scale"],
    }
    return study


def scores_of(ran):
    table = read_table(ran.results, "scores").sort_values(["trial_key", "split", "image"])
    return table.drop(columns=["trial_key"]).reset_index(drop=True)


@pytest.mark.ci
@pytest.mark.parametrize("framing", [{"aspect": "tiles", "tiles": {"size": 40}}, {"aspect": "pad"}])
def test_where_one_window_covers_each_image_the_scores_are_those_of_squashed_images(
    tiny, run, tmp_path, framing
):
    write_folder(tmp_path / "data", [(40, 40)] * 4)
    plain = run(study_of(tiny, tmp_path / "data"), tmp_path / "plain")
    framed = run(study_of(tiny, tmp_path / "data", **framing), tmp_path / "framed")
    assert {t.key for t in plain.plan.trials}.isdisjoint(t.key for t in framed.plan.trials)

    def by_row(ran):
        found = scores_of(ran)
        of = ["split", "image", "network", "foreground", "background", "logit"]
        rows = [
            tuple(np.asarray(v).tolist() if isinstance(v, np.ndarray | list) else v for v in row)
            for row in found[of].itertuples(index=False)
        ]
        return sorted(map(repr, rows))

    assert by_row(plain) == by_row(framed)


@pytest.mark.ci
@pytest.mark.parametrize(
    "framing",
    [{"aspect": "tiles", "tiles": {"size": 32, "stride": 16, "keep": 2}}, {"aspect": "pad"}],
)
def test_every_pixel_of_an_odd_image_is_scored_once_and_padding_never(tiny, run, tmp_path, framing):
    shapes = [(20, 70), (64, 33), (7, 5), (32, 32)]
    write_folder(tmp_path / "data", shapes)
    ran = run(study_of(tiny, tmp_path / "data", **framing), tmp_path / "results")
    statuses = read_table(ran.results, "trials")["status"].tolist()
    assert statuses == ["ok"]
    assert read_table(ran.results, "refined")["status"].tolist() == ["ok"] * 2
    scores = scores_of(ran)
    assert len(scores) == 2 * len(shapes) * 3  # splits, images, the plain CAM and two chains
    for row in scores.itertuples():
        height, width = shapes[int(row.image.split("/")[-1].split(".")[0])]
        inside = (height // 2) * (width - width // 3)
        assert np.sum(row.foreground) == inside
        assert np.sum(row.background) == height * width - inside


def test_training_tiles_are_images_of_their_own_in_the_group_of_their_picture(tiny, tmp_path):
    write_folder(tmp_path, [(20, 70), (64, 33)])
    data = Study.model_validate(
        study_of(tiny, tmp_path, aspect="tiles", tiles={"size": 32, "keep": 3})
    ).data
    images = study_images(data)
    train = read_framed(images.source, "train", 32, images.framing)
    assert len(train) == len(train.images) == 2 * (3 + 3)  # of 4 and of 6, 3 are kept
    assert sorted(set(train.groups)) == [
        "clear/0.png", "clear/1.png", "smoke/0.png", "smoke/1.png",
    ]  # fmt: skip
    for place, name in enumerate(train.identifiers):
        picture, _, at = name.partition("@")
        assert train.groups[place] == picture
        assert bool(train.labels[place, 0]) == ("smoke" in picture)
        top, left = map(int, at.split(","))
        pixels = np.asarray(Image.open(tmp_path / "train" / picture))
        expected = cut_view(pixels, pixels.shape[:2], (top, left, 32, 32), 32)
        assert np.array_equal(train.images[place], expected)
    test = read_framed(images.source, "test", 32, images.framing)
    assert test.identifiers == ("images/0.png", "images/1.png")
    assert len(test.views) == len(test.windows) == 4 + 6
    assert test.images.shape == (2, 32, 32, 3)


def test_keep_changes_the_training_alone_and_an_unframed_study_keeps_its_keys(tiny, tmp_path):
    write_folder(tmp_path, [(40, 40), (50, 40)])

    def prints(**data):
        found = study_images(Study.model_validate(study_of(tiny, tmp_path, **data)).data)
        return found.splits.fingerprints

    plain = prints()
    assert plain == prints(aspect="squash")
    tiles = prints(aspect="tiles", tiles={"size": 32})
    kept = prints(aspect="tiles", tiles={"size": 32, "keep": 2})
    assert all(tiles[split] != plain[split] for split in plain)
    assert tiles["test"] == kept["test"]
    assert tiles["train"] != kept["train"]
    assert tiles == prints(aspect="tiles")  # the network's 32 px are the size by themselves


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"aspect": "pad", "tiles": {"size": 32}}, "aspect is pad; expected aspect: tiles"),
        ({"tiles": {"size": 32}}, "aspect is squash; expected aspect: tiles"),
        ({"aspect": "tiles", "tiles": {"size": 32, "stride": 33}}, "stride 33 is larger than"),
        ({"aspect": "tiles", "tiles": {"stride": 40}}, "stride 40 is larger than the size 32"),
        ({"aspect": "tiles", "tiles": {"sise": 32}}, "unknown key 'sise'; nearest: 'size'"),
        ({"aspect": "letterbox"}, "'squash', 'pad' or 'tiles'"),
        ({"aspect": "tiles", "tiles": {"size": 99}}, "size 99 is larger than every image"),
    ],
)
def test_framings_that_cannot_be_meant_are_refused_before_any_work(
    tiny, wsss, write_study, tmp_path, data, said
):
    write_folder(tmp_path / "data", [(40, 40)])
    file = write_study(study_of(tiny, tmp_path / "data", **data))
    ended = wsss("plan", file, "--results", tmp_path / "results")
    assert ended.code == 2
    assert said in ended.err
    assert len(ended.err.strip().splitlines()) == 1


@pytest.mark.parametrize(("key", "value"), [("folds", {"k": 2, "by": "group"}), ("reasons", True)])
def test_folds_and_reasons_are_refused_beside_tiles(tiny, wsss, write_study, tmp_path, key, value):
    write_folder(tmp_path / "data", [(40, 40)] * 4)
    study = study_of(tiny, tmp_path / "data", aspect="pad")
    study[key] = value
    ended = wsss("plan", write_study(study), "--results", tmp_path / "results")
    assert ended.code == 2
    assert f"{key}: data.aspect is pad, expected aspect: squash" in ended.err


def test_a_source_without_pictures_is_told_what_it_lacks():
    class Bare:
        classes = ("smoke",)

    with pytest.raises(InputError, match=r"needs an image source with shapes\(split\), which Bare"):
        read_framed(Bare(), "train", 32, Framing("pad"))


def test_commands_say_how_many_tiles_images_give_and_their_price(tiny, wsss, write_study, tmp_path):
    write_folder(tmp_path / "data", [(20, 70), (64, 33)])
    tiles = {"size": 32, "keep": 3}
    file = write_study(study_of(tiny, tmp_path / "data", aspect="tiles", tiles=tiles))
    planned = wsss("plan", file, "--results", tmp_path / "results")
    checked = wsss("data", "check", file)
    described = wsss("data", "describe", file)
    for ended in (planned, checked, described):
        assert ended.code == 0, ended.err
        assert "tiles of 32 px, 16 px apart, at most 3 of a training image" in ended.out
        assert "train: 4 images give 12 tiles, 3 to 3 of an image" in ended.out
        assert "test: 2 images give 10 tiles, 4 to 6 of an image" in ended.out
        assert "costs 5 times one over squashed images" in ended.out
    squashed = wsss("data", "check", write_study(study_of(tiny, tmp_path / "data")))
    assert "tiles" not in squashed.out


@pytest.mark.ci
@pytest.mark.parametrize("framing", [{"aspect": "pad"}, {"aspect": "tiles"}])
def test_segmenters_learn_from_windows_and_are_scored_over_whole_images(
    tiny, run, tmp_path, framing
):
    shapes = [(20, 70), (64, 33), (33, 33), (40, 50)]
    write_folder(tmp_path / "data", shapes)
    for number, shape in enumerate(shapes):
        mask = np.zeros(shape, np.uint8)
        mask[:, : shape[1] // 2] = 255
        file = tmp_path / "data" / "train" / "masks" / "smoke" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(file)
    study = study_of(tiny, tmp_path / "data", **framing)
    model = {
        "model": "unet",
        "encoder": "resnet18",
        "options": {"decoder_channels": [16, 8, 8, 8, 8]},
        "encoder_options": {"channels": [4, 8, 16, 32]},
    }
    study["segment"] = {
        "model": model,
        "training": {"steps": 2, "batch_size": 4},
        "entries": {
            "true": {"labels": {"masks": "all"}},
            "pseudo": {"labels": {"configuration": "CNN alone", "chain": "PAR", "rule": "otsu"}},
        },
    }
    ran = run(study, tmp_path / "results")
    segmented = read_table(ran.results, "segmented")
    assert segmented["status"].tolist() == ["ok", "ok"], segmented["error"].tolist()
    scores = read_table(ran.results, "segment_scores")
    for row in scores[scores["class_name"] == "smoke"].itertuples():
        height, width = shapes[int(row.image.split("/")[-1].split(".")[0])]
        assert np.sum(row.pixels) == (height // 2) * (width - width // 3)
