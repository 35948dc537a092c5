"""Folds: which images are trained on, tuned on and tested on, told from names and labels alone."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from wsss_core.data.fold_images import fold_images
from wsss_core.data.folds import Fold, make_folds
from wsss_core.data.image_set import SPLITS, ImageSet, PixelMaps
from wsss_core.data.outline import SplitOutline, outline_of
from wsss_core.errors import InputError

Rows = list[tuple[str, str, bool]]
"""Group, camera and label of each image of a split."""


def listed(rows: Rows) -> SplitOutline:
    names = tuple(f"images/{n}.png" for n in range(len(rows)))
    labels = np.array([[row[2]] for row in rows], bool).reshape(-1, 1)
    groups = tuple(row[0] or name for row, name in zip(rows, names, strict=True))
    return SplitOutline(names, groups, labels, cameras=tuple(row[1] for row in rows))


def folds_of(splits: dict[str, Rows], **how: Any) -> tuple[Fold, ...]:
    return make_folds({s: listed(splits[s]) for s in SPLITS}, ["smoke"], **how)


def frames(cameras: str = "abcdef", each: int = 6) -> dict[str, Rows]:
    """Clips of 2 frames, all of the images of a camera in every split."""
    return {
        split: [(f"{c}{n // 2}", c, n % 3 > 0) for c in cameras for n in range(each)]
        for split in SPLITS
    }


def rows_of(splits: dict[str, Rows], fold: Fold, role: str) -> Rows:
    return [splits[split][index] for split, index in fold.roles[role]]


image = st.tuples(st.sampled_from(["", *"stuvwxyz"]), st.just(""), st.booleans())


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries({split: st.lists(image, min_size=9, max_size=30) for split in SPLITS}),
    st.integers(2, 4),
    st.integers(0, 5),
)
def test_no_group_has_two_roles_and_every_image_with_a_mask_is_tested_once(splits, k, seed):
    groups = {g or f"{s}{n}" for s in SPLITS[1:] for n, (g, _, _) in enumerate(splits[s])}
    if len(groups) < k + 2:
        return
    try:
        folds = folds_of(splits, by="group", k=k, seed=seed)
    except InputError:  # a group so large that all others are one fold
        reject()
    tested: Counter[tuple[str, int]] = Counter()
    for fold in folds:
        of = {
            role: {
                splits[split][index][0] or f"{split} {index}" for split, index in fold.roles[role]
            }
            for role in SPLITS
        }
        assert not of["train"] & of["tune"]
        assert not of["test"] & (of["train"] | of["tune"])
        assert all(of.values())
        tested.update(fold.roles["test"])
        roles = Counter(place for role in SPLITS for place in fold.roles[role])
        assert set(roles.values()) == {1}
        assert fold.unused == sum(map(len, splits.values())) - len(roles)
        assert {role: len(names) for role, names in of.items()} == dict(fold.groups)
    assert tested == Counter((s, n) for s in SPLITS[1:] for n in range(len(splits[s])))


def test_a_camera_that_is_held_out_is_in_no_other_role_but_its_clips_may_be_tuned_on_elsewhere():
    splits = frames("ab")
    first, second = folds_of(splits, by="camera", k="all")
    assert (first.held_out, second.held_out) == (("a",), ("b",))
    for fold, held, other in ((first, "a", "b"), (second, "b", "a")):
        assert {camera for _, camera, _ in rows_of(splits, fold, "test")} == {held}
        tune, train = (
            {row[0] for row in rows_of(splits, fold, role)} for role in ("tune", "train")
        )
        assert {name[0] for name in tune | train} == {other}
        assert not tune & train


def test_only_images_with_masks_are_tuned_on_and_tested_and_any_image_is_trained_on():
    for fold in folds_of(frames(), by="camera", k=3):
        assert {split for split, _ in fold.roles["test"]} == {"tune", "test"}
        assert {split for split, _ in fold.roles["tune"]} <= {"tune", "test"}
        assert {split for split, _ in fold.roles["train"]} == set(SPLITS)


def test_classes_are_balanced_where_a_random_deal_would_not_balance_them():
    # 30 groups of which 6 hold smoke: at random, some of 6 folds has none in 98 % of all deals.
    rows = [(f"g{n}", "", n < 6) for n in range(30)]
    splits = {"train": rows, "tune": rows, "test": rows}
    for seed in range(5):
        folds = folds_of(splits, by="group", k=6, seed=seed)
        assert [sum(row[2] for row in rows_of(splits, f, "test")) for f in folds] == [2] * 6
        assert [len(f.held_out) for f in folds] == [5] * 6
        assert all(f.absent == dict.fromkeys(SPLITS, ()) for f in folds)


def test_the_share_of_tune_is_of_the_images_with_masks_that_are_not_held_out():
    rows = [(f"g{n}", "", n % 2 == 0) for n in range(100)]
    fold, *_ = folds_of({s: rows for s in SPLITS}, by="group", k=5, tune=0.3)
    assert len(fold.roles["test"]) == 40
    assert len(fold.roles["tune"]) == pytest.approx(0.3 * 160, abs=3)


def test_folds_are_the_same_each_time_and_others_under_another_seed():
    one, again, other = (folds_of(frames(), by="group", k=4, seed=s) for s in (0, 0, 1))
    assert one == again
    assert [f.held_out for f in one] != [f.held_out for f in other]


def test_a_camera_by_itself_comes_in_the_order_people_count_in():
    splits = {s: [(f"c{n}-{i}", f"cam{n}", True) for n in (10, 9, 1) for i in range(3)]
              for s in SPLITS}  # fmt: skip
    held = [fold.held_out for fold in folds_of(splits, by="camera", k="all")]
    assert held == [("cam1",), ("cam9",), ("cam10",)]


def test_fewer_cameras_than_folds_are_refused_with_their_number():
    with pytest.raises(InputError, match=r"2 cameras have images with masks; expected at least 5$"):
        folds_of(frames("ab"), by="camera", k=5)


def test_images_with_masks_without_a_camera_are_refused_with_their_number_and_a_name():
    splits = frames()
    splits["test"][3] = ("lost", "", True)
    said = r"1 of 72 images with masks have no camera \(first test/images/3.png\); groups.csv"
    with pytest.raises(InputError, match=said):
        folds_of(splits, by="camera", k=2)


def test_a_training_image_without_a_camera_is_trained_on_in_every_fold():
    splits = frames()
    splits["train"].append(("lost", "", True))
    for fold in folds_of(splits, by="camera", k="all"):
        assert ("train", 36) in fold.roles["train"]
        assert fold.without_unit == 1


def test_a_group_of_two_cameras_is_refused():
    splits = frames()
    splits["test"][0] = ("a0", "b", True)
    with pytest.raises(InputError, match="group 'a0' has images of two cameras, 'a' and 'b'"):
        folds_of(splits, by="camera", k=2)


def test_a_class_that_a_role_lacks_is_named():
    splits = {s: [(f"{c}{n}", c, c == "a") for c in "ab" for n in range(6)] for s in SPLITS}
    first, second = folds_of(splits, by="camera", k="all")
    assert first.absent == {"train": ("smoke",), "tune": ("smoke",), "test": ()}
    assert second.absent == {"train": (), "tune": (), "test": ("smoke",)}


def test_one_group_cannot_be_split_into_tune_and_train():
    splits = {s: [("a", "a", True), ("b", "b", True)] for s in SPLITS}
    with pytest.raises(InputError, match="fold 1: 1 group with masks is left beside those held"):
        folds_of(splits, by="camera", k="all")


def image_set(split: str, count: int, seed: int) -> ImageSet:
    random = np.random.default_rng(seed)
    sizes = [(8 + n, 9) for n in range(count)]
    masks = [random.integers(0, 2, size).astype(np.uint8) if n % 2 else None
             for n, size in enumerate(sizes)]  # fmt: skip
    contexts = [np.full(size, 1, np.uint8) if n == 1 else None for n, size in enumerate(sizes)]
    return ImageSet(
        classes=("smoke",),
        images=random.integers(0, 256, (count, 8, 8, 3), np.uint8),
        labels=np.array([[mask is not None] for mask in masks]),
        identifiers=tuple(f"{n}.png" for n in range(count)),
        groups=tuple("shared" if n == 0 else f"{n}.png" for n in range(count)),
        masks=None if split == "train" else PixelMaps.from_arrays(masks, sizes),
        contexts=PixelMaps.from_arrays(contexts, sizes) if split == "test" else None,
        without_objects=random.integers(0, 256, (1, count, 8, 8, 3), np.uint8)
        if split == "test"
        else None,
        sources=("S",) * count,
        cameras=tuple(f"cam{n}" for n in range(count)),
    )


def test_the_images_of_a_role_are_those_of_the_splits_with_their_masks_and_names():
    splits = {split: image_set(split, 5, n) for n, split in enumerate(SPLITS)}
    places = (("tune", 1), ("tune", 2), ("test", 0), ("test", 1))
    fold = Fold(1, ("x",), {"train": (("train", 4), ("tune", 3)), "tune": (), "test": places},
                0, {}, {})  # fmt: skip
    test = fold_images(splits, fold, "test")
    assert test.identifiers == ("tune/1.png", "tune/2.png", "test/0.png", "test/1.png")
    assert test.groups == ("tune/1.png", "tune/2.png", "shared", "test/1.png")
    assert test.cameras == ("cam1", "cam2", "cam0", "cam1")
    for at, (split, index) in enumerate(places):
        whole = splits[split]
        np.testing.assert_array_equal(test.images[at], whole.images[index])
        np.testing.assert_array_equal(test.labels[at], whole.labels[index])
        np.testing.assert_array_equal(test.mask(at), whole.mask(index))
    assert test.context(0) is None
    assert test.context(3).all()
    assert test.without_objects is None  # tune's are not known
    train = fold_images(splits, fold, "train")
    assert not train.has_masks
    assert train.identifiers == ("train/4.png", "tune/3.png")
    assert train.labels.tolist() == [[False], [True]]
    only = Fold(1, ("x",), {**fold.roles, "test": (("test", 3),)}, 0, {}, {})
    np.testing.assert_array_equal(
        fold_images(splits, only, "test").without_objects, splits["test"].without_objects[:, [3]]
    )


class Read:
    """A plug-in's source, which lists nothing by itself."""

    classes = ("smoke",)

    def fingerprint(self, split: str) -> str:
        return split

    def read(self, split: str, size: int) -> ImageSet:
        return image_set(split, 3, 0)


def test_a_source_that_lists_nothing_is_read_and_one_that_does_agrees_with_what_it_reads(
    two_classes,
):
    from wsss_core.data.folder.source import FolderSource
    from wsss_core.data.scenes import SceneSettings, SceneSource

    scenes = SceneSource(SceneSettings(seed=3, steam=0.4), train=8, tune=6, test=4)
    for source in (Read(), FolderSource(two_classes), scenes):
        for split in SPLITS:
            outline, read = outline_of(source, split, 16), source.read(split, 16)
            assert outline.identifiers == read.identifiers
            assert outline.groups == read.groups
            assert (outline.sources, outline.cameras) == (read.sources, read.cameras)
            np.testing.assert_array_equal(outline.labels, read.labels)
