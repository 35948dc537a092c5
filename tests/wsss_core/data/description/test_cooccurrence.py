"""Every class beside what accompanies it: counts, what is strong, few, the same or left out."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from wsss_core.data.description.cooccurrence import CompanionKind, Cooccurrence, cooccurrences
from wsss_core.data.description.facts import ImageFacts
from wsss_core.data.description.traps import traps


def images(*counts: tuple[int, dict[str, object]], split: str = "train") -> list[ImageFacts]:
    """So many images of each kind; one that says nothing of itself holds no class."""
    given = {"split": split, "held": (False,), "height": 8, "width": 8}
    kinds = [kind for count, kind in counts for _ in range(count)]
    return [
        ImageFacts(identifier=f"{number}.png", **{**given, **kind})  # type: ignore[arg-type]
        for number, kind in enumerate(kinds)
    ]


def found(
    of: Sequence[ImageFacts],
    kind: CompanionKind,
    companion: str,
    classes: Sequence[str] = ("smoke",),
) -> Cooccurrence:
    rows, _ = cooccurrences(of, classes)
    (row,) = (row for row in rows if (row.kind, row.companion) == (kind, companion))
    return row


def test_a_row_counts_images_with_the_class_and_the_companion():
    row = found(
        images(
            (30, {"held": (True,), "source": "A"}),
            (10, {"source": "A"}),
            (5, {"held": (True,), "source": "B"}),
            (55, {"source": "B"}),
        ),
        CompanionKind.SOURCE,
        "A",
    )
    assert (row.both, row.with_companion, row.with_class, row.images) == (30, 40, 35, 100)
    assert row.lift == pytest.approx((30 / 40) / (35 / 100))
    assert (row.share_with, row.share_without) == (30 / 40, 5 / 60)
    assert row.balanced_accuracy == pytest.approx((30 / 35 + 55 / 65) / 2)
    assert row.low < row.lift < row.high
    assert row.strong


def test_a_correlation_that_chance_explains_is_not_strong():
    mixed = [(n, {"held": (held,), "camera": c}) for n, held, c in ((7, 1, "a"), (5, 0, "a"))]
    mixed += [(n, {"held": (held,), "camera": c}) for n, held, c in ((5, 1, "b"), (7, 0, "b"))]
    row = found(images(*mixed), CompanionKind.CAMERA, "a")
    assert row.lift > 1.1
    assert row.by_chance
    assert not row.strong


def test_of_many_flags_drawn_at_random_none_is_a_trap():
    random = np.random.default_rng(0)
    noise = [
        (1, {"held": (bool(held),), "flags": tuple(f"f{n}" for n in np.flatnonzero(has))})
        for held, has in zip(
            random.integers(2, size=200), random.random((200, 60)) < 0.3, strict=True
        )
    ]
    rows, _ = cooccurrences(images(*noise), ["smoke"])
    assert len([row for row in rows if row.kind is CompanionKind.FLAG]) == 60
    assert traps(rows) == ()


def test_images_of_few_clips_have_a_wider_interval():
    counts = [(20, True, "a"), (20, False, "a"), (5, True, "b"), (35, False, "b")]
    apart = [(n, {"held": (held,), "camera": c}) for n, held, c in counts]
    clips = [(n, {"held": (held,), "camera": c, "group": f"{c}{held}"}) for n, held, c in counts]
    alone, grouped = (found(images(*of), CompanionKind.CAMERA, "a") for of in (apart, clips))
    assert grouped.lift == alone.lift
    assert grouped.low < alone.low
    assert grouped.high > alone.high
    assert (alone.groups_with, grouped.groups_with, grouped.groups) == (40, 2, 4)
    assert grouped.few_groups
    assert not alone.few_groups


def test_rows_of_few_images_say_so_and_come_after_those_of_many():
    counts = [
        (6, True, ("rain",)),
        (1, True, ("night",)),
        (60, True, ("fog",)),
        (10, False, ("fog",)),
    ]
    rows, notes = cooccurrences(
        images(*((n, {"held": (h,), "flags": f}) for n, h, f in counts), (80, {})), ["smoke"]
    )
    flags = [(row.companion, row.few) for row in rows if row.kind is CompanionKind.FLAG]
    assert flags == [("fog", False), ("rain", True)]
    assert notes == ("train, flag: 1 value has fewer than 3 images; left out",)


def test_what_all_images_have_tells_nothing_and_is_left_out():
    rows, _ = cooccurrences(
        images((9, {"held": (True,), "source": "A"}), (9, {"source": "A"})), ["smoke"]
    )
    assert rows == ()


def test_a_class_that_every_image_holds_is_named():
    rows, notes = cooccurrences(images((9, {"held": (True,), "source": "A"})), ["smoke"])
    assert rows == ()
    assert notes == ("train: every image holds smoke, so nothing can tell it apart",)


def test_images_whose_contexts_are_unknown_do_not_count_as_without():
    row = found(
        images(
            (20, {"held": (True,), "contexts": ("chimneys",)}),
            (20, {"contexts": ()}),
            (500, {"held": (True,), "contexts": None}),
        ),
        CompanionKind.CONTEXT,
        "chimneys",
    )
    assert (row.images, row.both, row.lift) == (40, 20, 2.0)


def test_train_and_the_splits_with_masks_are_counted_apart():
    train = images((20, {"held": (True,), "source": "A"}), (20, {"source": "B"}))
    scored = images(
        (10, {"held": (True,), "source": "A"}),
        (10, {"source": "A"}),
        (20, {"held": (True,), "source": "B"}),
        (20, {"source": "B"}),
        split="test",
    )
    rows, _ = cooccurrences([*train, *scored], ["smoke"])
    lifts = {row.scope: row.lift for row in rows if row.companion == "A"}
    assert lifts == {"train": 2.0, "tune and test": 1.0}


def test_other_classes_are_companions_but_not_of_themselves():
    both = images(
        (20, {"held": (True, True)}), (5, {"held": (True, False)}), (60, {"held": (False, False)})
    )
    rows, _ = cooccurrences(both, ["smoke", "steam"])
    pairs = {
        (row.class_name, row.companion) for row in rows if row.kind is CompanionKind.OTHER_CLASS
    }
    assert pairs == {("smoke", "steam"), ("steam", "smoke")}


def test_classes_that_exclude_each_other_are_no_trap():
    labels = ((True, False), (False, True), (False, False))
    one_each = images(*((30, {"held": held}) for held in labels))
    rows, _ = cooccurrences(one_each, ["smoke", "steam"])
    assert [row.lift for row in rows if row.kind is CompanionKind.OTHER_CLASS] == [0.0, 0.0]
    assert traps(rows) == ()


def test_companions_of_the_same_images_make_one_trap():
    same = images(
        (40, {"held": (True,), "source": "A", "camera": "1", "width": 16}),
        (8, {"source": "A", "camera": "1", "width": 16}),
        (40, {"source": "B", "camera": "2"}),
        (8, {"held": (True,), "source": "B", "camera": "2"}),
    )
    rows, _ = cooccurrences(same, ["smoke"])
    (trap,) = traps(rows)
    one = trap.cooccurrence
    assert {one.name, *one.same_images} == {"source A", "camera 1", "size 16x8"}
    assert set(one.other_images) == {"source B", "camera 2", "size 8x8"}
    for name in (*one.same_images, *one.other_images):
        assert name in trap.sentence


def test_a_trap_says_how_many_images_speak_against_it_and_whether_scores_show_it():
    train = images(
        (90, {"held": (True,), "flags": ("night",)}),
        (7, {"flags": ("night",)}),
        (90, {}),
        (5, {"held": (True,)}),
    )
    test = [replace(one, split="test", flags=()) for one in train[:100]]
    test += [replace(one, split="test", flags=("night",)) for one in train[95:105]]
    rows, _ = cooccurrences([*train, *test], ["smoke"])
    (trap,) = traps(rows)
    assert "90 of 97 images with flag night hold smoke (93 %)" in trap.sentence
    assert "7 images speak against it" in trap.sentence
    assert trap.other is not None
    assert "Scores may show it" in trap.sentence
