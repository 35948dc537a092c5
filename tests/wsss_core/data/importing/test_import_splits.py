"""How images are split: the source's own words, lists, shares by group, a tune that is cut off."""

import csv
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wsss_core.data.importing import ImportSettings, import_data, parse_splits
from wsss_core.errors import InputError

VALUES = {1: "smoke", 2: "steam"}
BY_VIDEO = {
    "values": VALUES,
    "images": "images/{group}_{stem}.png",
    "masks": "masks/{group}_{stem}.png",
}


def split_of(root: Path) -> dict[str, str]:
    """Image -> split, from the table that is written beside the set."""
    with (root / "images.csv").open(newline="") as opened:
        return {Path(row["file"]).name: row["file"].split("/")[0] for row in csv.DictReader(opened)}


def test_shares_never_divide_a_group(numbered, settings, tmp_path):
    import_data(settings(numbered, "train=0.34,tune=0.33,test=0.33", options=BY_VIDEO))
    splits = defaultdict(set)
    for name, split in split_of(tmp_path / "data").items():
        splits[name.split("_")[0]].add(split)
    assert {group: len(found) for group, found in splits.items()} == {
        "video0": 1,
        "video1": 1,
        "video2": 1,
    }
    assert set().union(*splits.values()) == {"train", "tune", "test"}


def test_groups_are_written_for_the_product(numbered, settings, tmp_path):
    import_data(settings(numbered, "train=0.34,tune=0.33,test=0.33", options=BY_VIDEO))
    with (tmp_path / "data/groups.csv").open(newline="") as opened:
        groups = {row["file"]: row["group"] for row in csv.DictReader(opened)}
    assert len(groups) == 12
    assert set(groups.values()) == {f"numbered/video{n}" for n in range(3)}


def test_shares_depend_on_the_seed_alone(numbered, settings, tmp_path):
    found = []
    for number, seed in enumerate((0, 0, 1)):
        root = tmp_path / f"data{number}"
        made = settings(
            numbered,
            "train=0.5,tune=0.25,test=0.25",
            options={"values": VALUES},
            destination=root,
            seed=seed,
        )
        import_data(made)
        found.append(split_of(root))
    assert found[0] == found[1]
    assert found[0] != found[2]
    assert sorted(found[0].values()).count("train") == 6


def test_lists_of_texts_and_of_numpy_say_the_split(numbered, settings, tmp_path):
    names = [f"video{n % 3}_{n}" for n in range(12)]
    (tmp_path / "train.txt").write_text(
        "".join(f"/data/images/{n}.png /data/masks/{n}.png\n" for n in names[:6])
    )
    (tmp_path / "val.csv").write_text("".join(f"{n}.png,1\n" for n in names[6:8]))
    np.save(tmp_path / "test.npy", np.array(names[8:11]))
    split = ",".join(
        f"{split}={tmp_path / file}"
        for split, file in (("train", "train.txt"), ("tune", "val.csv"), ("test", "test.npy"))
    )
    record = import_data(settings(numbered, split, options={"values": VALUES}))
    found = split_of(tmp_path / "data")
    expected = ["train"] * 6 + ["tune"] * 2 + ["test"] * 3
    assert found == {f"{n}.png": s for n, s in zip(names[:11], expected, strict=True)}
    assert any("1 images are in no list and left out" in note for note in record.notes)


def test_a_list_with_pickled_objects_is_refused(numbered, settings, tmp_path):
    np.save(tmp_path / "train.npy", np.array(["a", None], object), allow_pickle=True)
    with pytest.raises(InputError, match="without pickled objects"):
        import_data(
            settings(numbered, f"train={tmp_path / 'train.npy'}", options={"values": VALUES})
        )


def test_a_line_of_a_list_that_names_no_image_is_refused(numbered, settings, tmp_path):
    (tmp_path / "train.txt").write_text("video0_0\nvideo9_9\n")
    with pytest.raises(InputError, match=r"train\.txt, line 2: 'video9_9' is no image"):
        import_data(
            settings(numbered, f"train={tmp_path / 'train.txt'}", options={"values": VALUES})
        )


def test_a_split_of_the_source_can_be_renamed_and_tune_cut_from_train(smoke5k, settings, tmp_path):
    (smoke5k / "test").rename(smoke5k / "val")
    (smoke5k / "val/img").rename(smoke5k / "val/images")
    (smoke5k / "val/gt").rename(smoke5k / "val/masks")
    for old, new in (("img", "images"), ("gt", "masks")):
        (smoke5k / "train" / old).rename(smoke5k / "train" / new)
    record = import_data(settings(smoke5k, "test=val", "0.25", source={"format": "pairs"}))
    assert {split: counts["images"] for split, counts in record.counts.items()} == {
        "train": 6,
        "tune": 2,
        "test": 4,
    }
    tested = {name for name, split in split_of(tmp_path / "data").items() if split == "test"}
    assert tested == {f"s{n}.png" for n in range(20, 24)}


def test_tune_is_cut_off_whole_groups(numbered, settings, tmp_path):
    lists = [tmp_path / "a.txt", tmp_path / "b.txt"]
    lists[0].write_text("".join(f"video{n % 3}_{n}\n" for n in range(12) if n % 3 < 2))
    lists[1].write_text("".join(f"video{n % 3}_{n}\n" for n in range(12) if n % 3 == 2))
    split = f"train={lists[0]},test={lists[1]}"
    import_data(settings(numbered, split, "3", options=BY_VIDEO))
    found = split_of(tmp_path / "data")
    tuned = {name.split("_")[0] for name, split in found.items() if split == "tune"}
    trained = {name.split("_")[0] for name, split in found.items() if split == "train"}
    assert len(tuned) == len(trained) == 1
    assert tuned != trained


def test_without_tune_one_line_says_what_to_type(smoke5k, settings):
    with pytest.raises(InputError, match=r"no image is in tune; say e\.g\. --tune 0\.1"):
        import_data(settings(smoke5k))


def test_where_the_source_has_no_test_the_line_makes_one_of_its_val(numbered, settings, tmp_path):
    for split, numbers in (("train", range(8)), ("val", range(8, 12))):
        for kind in ("images", "masks"):
            (numbered / split / kind).mkdir(parents=True)
            for number in numbers:
                name = f"{kind}/video{number % 3}_{number}.png"
                (numbered / name).rename(numbered / split / name)
    for kind in ("images", "masks"):
        (numbered / kind).rmdir()
    with pytest.raises(InputError, match="no image is in test") as refused:
        import_data(settings(numbered, options={"values": VALUES}))
    said = str(refused.value)
    assert "--split test=val --tune 0.1 to score with val" in said
    import_data(settings(numbered, "test=val", "0.25", options={"values": VALUES}))
    assert set(split_of(tmp_path / "data").values()) == {"train", "tune", "test"}


def test_a_set_without_splits_says_what_to_type(numbered, settings):
    with pytest.raises(InputError, match=r"^12 images are in no split .*--split train=0\.7"):
        import_data(settings(numbered, options={"values": VALUES}))


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["train=0.5,test=0.2"], "expected a sum of 1"),
        (["train=0.5,tune=val"], "mix shares, files and names"),
        (["train=0.5", "train=0.5"], "given twice"),
        (["training"], "expected e.g."),
        (["other=0.5"], "expected e.g."),
        (["train=missing.txt"], "no such file"),
        (["train=1.5"], "expected 0 to 1"),
    ],
)
def test_a_wrong_split_is_refused(texts, said):
    with pytest.raises(InputError, match=said):
        parse_splits(texts)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "val:3", "x", "nan"])
def test_a_wrong_amount_of_tune_is_refused(text):
    with pytest.raises(InputError, match="expected a number of images or a share"):
        parse_splits([], text)


def test_cameras_are_kept_together_where_that_is_wanted(numbered, settings, tmp_path):
    options = {
        "values": VALUES,
        "images": "images/{camera}_{stem}.png",
        "masks": "masks/{camera}_{stem}.png",
    }
    made: ImportSettings = settings(numbered, "train=0.34,tune=0.33,test=0.33", options=options)
    import_data(replace(made, group_by="camera"))
    splits = defaultdict(set)
    for name, split in split_of(tmp_path / "data").items():
        splits[name.split("_")[0]].add(split)
    assert all(len(found) == 1 for found in splits.values())
