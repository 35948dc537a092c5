"""The table of what the check of the images found."""

import pandas as pd

from reports.tables.findings import findings_table


def rows(*found):
    columns = ["study", "data", "severity", "kind", "split", "count", "text", "files"]
    return pd.DataFrame([("s", "d", *one) for one in found], columns=columns)


def test_warnings_come_before_notes_and_each_is_a_row():
    table = findings_table(
        rows(
            ("note", "orientation", "train", 3, "turned upright", "train/smoke/a.jpg"),
            ("warning", "near twins", "test", 1237, "of 4,000 images have a twin", "a ~ b"),
            ("warning", "groups", None, 2, "groups in two splits", None),
        )
    )
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["warning", "test", "near twins", "1\u202f237", "of 4,000 images have a twin", "a ~ b"],
        ["warning", "all", "groups", "2", "groups in two splits", "–"],
        ["note", "train", "orientation", "3", "turned upright", "train/smoke/a.jpg"],
    ]
    assert table.caption.startswith("2 warnings, 1 note: ")


def test_a_finding_that_two_image_sets_of_a_sweep_share_is_one_row():
    twice = ("warning", "pages", "train", 1, "first page", "a.tif")
    assert len(findings_table(rows(twice, twice)).rows) == 1
