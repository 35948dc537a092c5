"""The ledger's column `source` of scores says which data set an image came from."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from reports.ledger.digest import to_parquet
from reports.ledger.parts import read_arrow, write_part
from reports.ledger.schema import SCHEMAS
from studies.stages.scoring import NetworkScores, score_rows
from wsss_core.data.image_set import ImageSet, PixelMaps


def rows(**more: object) -> list[dict[str, object]]:
    masks = PixelMaps.from_arrays([np.eye(4, dtype=np.uint8)] * 3)
    images = ImageSet(
        ("smoke",),
        np.zeros((3, 4, 4, 3), np.uint8),
        np.ones((3, 1), bool),
        ("a", "b", "c"),
        ("f", "f", "c"),
        masks,
        **more,  # type: ignore[arg-type]
    )
    maps = np.random.default_rng(0).random((3, 1, 4, 4), np.float32)
    scores = NetworkScores((maps,), np.ones((3, 1), np.float32), None, None, "max")
    made = score_rows(scores, images, split="test", network="student", gating="none")
    return [{**row, "trial_key": "t"} for row in made]


def test_each_row_names_the_source_of_its_image_and_nothing_where_it_is_unknown(tmp_path):
    write_part(tmp_path, "scores", "t", rows(sources=("RISE", "", "SMOKE5K")))
    read = read_arrow(tmp_path, "scores")
    assert read["source"].to_pylist() == ["RISE", None, "SMOKE5K"]
    assert read["group"].to_pylist() == ["f", "f", "c"]


def test_an_older_part_without_the_column_is_read_beside_a_newer_one(tmp_path):
    part = write_part(tmp_path, "scores", "a", rows())
    older = pq.read_table(part).drop_columns(["source"])
    older = older.replace_schema_metadata(SCHEMAS["scores"].metadata)
    with open(part, "wb") as file:
        file.write(to_parquet(older))
    write_part(tmp_path, "scores", "b", rows(sources=("A", "A", "B")))
    assert read_arrow(tmp_path, "scores")["source"].to_pylist() == [None] * 3 + ["A", "A", "B"]


@pytest.mark.parametrize("sources", [(), ("A", "A", "B")])
def test_sources_change_nothing_else_in_a_row(sources):
    for row, plain in zip(rows(sources=sources), rows(), strict=True):
        assert {name for name in row if not np.array_equal(row[name], plain[name])} <= {"source"}
