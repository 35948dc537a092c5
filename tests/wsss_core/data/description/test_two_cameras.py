"""A set of two cameras, one of which sees mostly smoke: the description shows it."""

from wsss_core.data import describe_data
from wsss_core.data.description import CompanionKind


def test_a_camera_that_sees_mostly_smoke_is_a_trap(two_cameras):
    described = describe_data(two_cameras({"hill": (36, 4), "roof": (4, 36)}), pictures=0)
    rows = {
        (row.kind, row.companion): row
        for row in described.cooccurrences
        if row.scope == "train" and row.kind in (CompanionKind.SOURCE, CompanionKind.CAMERA)
    }
    hill = rows[CompanionKind.SOURCE, "hill"]
    assert (hill.both, hill.with_companion, hill.with_class, hill.images) == (36, 40, 40, 80)
    assert (hill.lift, hill.groups) == (1.8, 40)
    assert hill.low > 1.25
    assert rows[CompanionKind.SOURCE, "roof"].lift == 0.2
    (trap,) = (t for t in described.traps if t.cooccurrence == hill)
    assert hill.same_images == ("camera hill north",)
    assert hill.other_images == ("source roof", "camera roof north")
    assert "score it on a" in trap.sentence
    assert "that training has not seen" in trap.sentence
    # The scored splits are balanced.
    assert "Scores may show it" in trap.sentence


def test_cameras_that_see_smoke_as_often_are_none(two_cameras):
    described = describe_data(two_cameras({"hill": (20, 20), "roof": (20, 20)}), pictures=0)
    kinds = {trap.cooccurrence.kind for trap in described.traps}
    assert not kinds & {CompanionKind.SOURCE, CompanionKind.CAMERA}


def test_the_sheet_shows_images_for_and_against_the_trap(two_cameras):
    described = describe_data(two_cameras({"hill": (36, 4), "roof": (4, 36)}), pictures=8)
    trap, rows = next(
        (trap, rows)
        for trap, rows in described.trap_sheet
        if trap.cooccurrence.kind in (CompanionKind.SOURCE, CompanionKind.CAMERA)
    )
    one = trap.cooccurrence
    numbers = {row.title.partition(":")[0]: [] for row in rows}
    for row in rows:
        numbers[row.title.partition(":")[0]].append(row.of)
    assert sorted(numbers["for"]) == [36, 36]
    assert sorted(numbers["against"]) == [4, 4]
    for row in rows:
        for thumbnail in row.thumbnails:
            has = one.companion in (thumbnail.facts.source, thumbnail.facts.camera)
            assert has == (f"with {one.name}" in row.title)
            assert thumbnail.facts.held[0] == ("no smoke" not in row.title)
