"""Orders and conditional steps through a whole run: each beginning is made once."""

import pytest

from reports.ledger.parts import read_table
from studies.planning.chains import shards

PAR = {"par": {"iterations": 1, "dilations": [1]}}
CHAINS = {
    "orders": {
        "steps": [PAR, {"crf": {"background": "otsu"}}, "multi_scale"],
        "lengths": [1, 2, 3],
    },
    "never": [{"if": {"score": "area", "above": 0.999}, "then": PAR}],
    "always": [{"if": {"score": "area", "below": 1.0}, "then": PAR}],
}


@pytest.mark.slow
def test_orders_run_each_beginning_once_and_conditions_choose(run, taught, tmp_path):
    taught["chains"] = CHAINS
    ran = run(taught, tmp_path)
    assert ran.result.remaining == 0
    kept = list((ran.store.root / "refined").iterdir())
    # By hand: par, crf, par crf, crf par over two kinds of CAMs, and the two conditional steps.
    assert len(kept) == (2 * 4 + 2) * len(shards(8)) * 2
    scores = read_table(ran.results, "scores")
    counts = scores["refinement"].value_counts().to_dict()
    assert len(counts) == 4 + 1 + 4 + 2
    assert set(counts.values()) == {16}

    def of(chain):
        rows = scores[scores["refinement"] == chain].sort_values(["split", "image"])
        return [[*a, *b] for a, b in zip(rows["foreground"], rows["background"], strict=True)]

    assert of("always") == of("par")
    assert of("never") != of("par")
