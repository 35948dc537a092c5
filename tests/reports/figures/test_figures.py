"""What the figures show, as plain data, and the SVG they become."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from reports.figures.curves import (
    SeedCurve,
    ThresholdCurves,
    draw_threshold_curves,
    draw_training_curves,
    threshold_curves_info,
    training_curves_info,
)
from reports.figures.panels import (
    LONGEST_SIDE,
    PanelRow,
    cam_over_grey,
    cam_panels_info,
    draw_cam_panels,
    panel_columns,
)
from reports.figures.seeds import (
    accuracy_scatter_info,
    draw_accuracy_scatter,
    draw_seed_dots,
    seed_dots_info,
)
from reports.figures.style import colours, draw_svg, inline, wrapped
from reports.results.comparisons import best_taught
from reports.results.reading import read_studies

FIGURES = [
    (seed_dots_info, draw_seed_dots),
    (accuracy_scatter_info, draw_accuracy_scatter),
    (training_curves_info, draw_training_curves),
    (threshold_curves_info, draw_threshold_curves),
    (cam_panels_info, draw_cam_panels),
]


@pytest.fixture(scope="module")
def record(ledger):
    return read_studies(ledger.results)[0]


@pytest.fixture(scope="module")
def evil_record(tmp_path_factory, build_ledger):
    names = {
        "ViT alone": "<script>alert(1)</script>",
        "cosine global": "a_b & 5% $x_1$",
        "L1 global": "_hidden " + "very long name " * 12,
    }
    results = tmp_path_factory.mktemp("evil")
    return read_studies(build_ledger(results, names=names, counts=(3, 5)).results)[0]


def test_dots_hold_every_healthy_trial_in_percent_and_their_mean(record):
    rows = {row.name: row for row in seed_dots_info(record).rows}
    values = record.by_seed("L1 global", "per_image_iou")

    assert list(rows) == [one.name for one in record.configurations]
    assert rows["L1 global"].by_seed == {seed: 100 * v for seed, v in values.items()}
    assert rows["L1 global"].mean == pytest.approx(50 * sum(values.values()))
    assert rows["L1 global"].note == "2 of 3, 1 collapsed"
    assert rows["CNN alone"].note == ""


def test_dots_mark_the_student_and_the_teacher_alone(record):
    info = seed_dots_info(record)
    means = {row.name: row.mean for row in info.rows}

    assert {label: value for label, _, value in info.marks} == {
        "student alone: ViT alone": means["ViT alone"],
        "teacher alone: CNN alone": means["CNN alone"],
    }


def test_the_scatter_pairs_accuracy_and_iou_of_the_same_trial(record):
    points = {(name, seed): (x, y) for name, seed, x, y in accuracy_scatter_info(record).points}

    assert len(points) == 21
    trial = record.trials["cosine spatial", 1]
    where = {"rule": "tuned", "class_name": "smoke"}
    assert points["cosine spatial", 1] == pytest.approx(
        (
            100 * trial.figure("balanced_accuracy", **where),
            100 * trial.figure("per_image_iou", **where),
        )
    )


def test_training_curves_have_a_transfer_loss_only_where_something_is_transferred(record):
    panels = training_curves_info(record).panels
    epochs, classification, transfer = panels["cosine global"][1]

    assert panels["ViT alone"][0][2] is None
    assert epochs.tolist() == list(range(1, 13))
    np.testing.assert_allclose(classification, 0.65 * np.exp(-np.arange(12) / 4) + 0.07)
    np.testing.assert_allclose(transfer, 0.9 * np.exp(-np.arange(12) / 6) + 0.1)
    assert sorted(panels["L2 global"]) == [0, 2]


def test_the_tuned_and_the_oracle_level_lie_on_their_curve(record):
    panels = threshold_curves_info(record).panels

    for name, by_seed in panels.items():
        for seed, curve in by_seed.items():
            trial = record.trials[name, seed]
            tuned = trial.figure("per_image_iou", rule="tuned", class_name="smoke")
            assert curve.percent[curve.levels["tuned"]] == pytest.approx(100 * tuned)
            assert curve.levels["dataset_oracle"] == int(np.argmax(curve.percent))


def test_curves_are_compared_with_the_mean_of_the_student_alone(record):
    info = threshold_curves_info(record)
    expected = np.mean([c.percent for c in info.panels["ViT alone"].values()], axis=0)

    np.testing.assert_allclose(info.compared["co-training"], expected)
    assert "ViT alone" not in info.compared


def test_panels_show_teacher_student_and_the_three_best_taught(record):
    ranked = [c.configuration.name for c in best_taught(record)]

    assert panel_columns(record) == ["CNN alone", "ViT alone", *ranked[:3]]


def test_panels_are_of_one_seed_and_carry_each_images_own_iou(record, ledger):
    info = cam_panels_info(record)
    clear = [row for row in info.rows if not row.mask.any()]

    assert [row.mask.any() for row in info.rows] == [True, True, True, False]
    for row in info.rows:
        index = int(re.search(r"(\d+)", row.image_name)[1])
        np.testing.assert_array_equal(row.mask, ledger.masks["test", "smoke"][index])
        for name, shown in zip(info.columns, row.cells, strict=True):
            cam = ledger.cams[name, info.seed, "test", "student", "smoke"][index]
            np.testing.assert_array_equal(shown.cam, cam)
            marked = cam >= shown.level
            if row.mask.any():
                iou = (marked & row.mask).sum() / (marked | row.mask).sum()
                assert shown.note == f"IoU {100 * iou:.0f}"
            else:
                assert shown.note == f"{100 * marked.mean():.0f} % marked"
    assert len(clear) == 1


def test_a_column_without_a_picture_says_why(tmp_path, build_ledger):
    states = {("ViT alone", 0): "failed", ("CNN alone", 0): "missing"}
    ledger = build_ledger(tmp_path, seeds=(0,), states=states, counts=(3, 4))
    info = cam_panels_info(read_studies(ledger.results)[0])

    notes = dict(zip(info.columns, [cell.note for cell in info.rows[0].cells], strict=True))
    assert notes["CNN alone"] == "missing"
    assert notes["ViT alone"] == "failed"


def test_an_overlay_is_grey_image_and_colour_mixed_four_to_six():
    image = np.full((1, 1, 3), (200, 100, 50), np.uint8)
    grey = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    darkest_viridis = np.array([68, 1, 84])

    mixed = cam_over_grey(image, np.zeros((1, 1), np.uint8))[0, 0]

    np.testing.assert_allclose(mixed, 0.4 * grey + 0.6 * darkest_viridis, atol=1)


def test_large_pictures_are_shrunk_in_the_file(record):
    info = cam_panels_info(record)
    row = info.rows[0]
    large = PanelRow(
        row.image_name,
        row.class_name,
        row.image.repeat(20, 0).repeat(20, 1),
        row.mask.repeat(20, 0).repeat(20, 1),
        row.cells,
    )
    svg = draw_svg(
        lambda: draw_cam_panels(type(info)(info.columns, (large,), info.seed)), "large", "large"
    )

    widths = {int(width) for width in re.findall(r'<image[^>]*? width="(\d+)"', svg)}
    assert max(widths) == LONGEST_SIDE


@pytest.mark.parametrize(("collect", "draw"), FIGURES)
def test_an_svg_is_the_same_to_the_byte_and_tells_no_time(record, collect, draw):
    first = draw_svg(lambda: draw(collect(record)), "one", "A title")
    second = draw_svg(lambda: draw(collect(record)), "one", "A title")

    assert first == second
    assert not re.search(r"20\d\d-\d\d-\d\d|dc:date|Matplotlib v", first)


@pytest.mark.parametrize(("collect", "draw"), FIGURES)
def test_evil_names_stay_text_in_well_formed_svg(evil_record, collect, draw):
    svg = draw_svg(lambda: draw(collect(evil_record)), "evil", "<b>&</b>")
    tree = ElementTree.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"

    assert tree.find(f"{space}title").text == "<b>&</b>"
    assert tree.find(f".//{space}script") is None
    texts = " ".join("".join(text.itertext()) for text in tree.iter(f"{space}text"))
    assert "<script>alert" in texts
    assert "a_b & 5%" in texts
    assert "$x_1$" in texts


def test_ids_of_two_figures_on_one_page_do_not_meet(record):
    svgs = [
        inline(draw_svg(lambda: draw_seed_dots(seed_dots_info(record)), name, name))
        for name in ("one", "two")
    ]
    ids = [set(re.findall(r'\sid="([^"]+)"', svg)) for svg in svgs]

    assert ids[0]
    assert not ids[0] & ids[1]
    for svg, own in zip(svgs, ids, strict=True):
        used = set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg))
        assert used <= own


def test_what_is_compared_with_is_grey_and_the_taught_have_hues_of_their_own(record):
    found = colours(record)
    taught = [found[one.name] for one in record.configurations if one.teacher]

    assert len(set(found.values())) == len(found)
    assert found["ViT alone"] not in taught


def test_long_names_are_broken_and_shortened():
    assert wrapped("a name of four words", 10) == "a name of\nfour words"
    assert wrapped("x" * 50, 10).count("\n") <= 1
    assert all(len(line) <= 10 for line in wrapped("many words " * 9, 10).split("\n"))


def test_every_threshold_curve_lies_whole_within_its_panel() -> None:
    low, high = (np.full(256, height) for height in (20.0, 45.0))
    info = ThresholdCurves(
        panels={"first": {0: SeedCurve(low, {})}, "second": {0: SeedCurve(high, {})}},
        compared={},
        colours={"first": "black", "second": "black"},
        axis="IoU [%]",
    )
    for axes in draw_threshold_curves(info).axes:
        bottom, top = axes.get_ylim()
        assert bottom == 0
        assert top > 45
