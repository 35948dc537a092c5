"""The post-processing table on a ledger whose chains have known scores."""

from datetime import UTC, datetime

import numpy as np
import pytest

from reports.figures.refinement import chain_dots_info, chain_panels_info
from reports.ledger.parts import read_table, write_part
from reports.names import OPTIMAL, PLAIN
from reports.page.views import study_view
from reports.results.comparisons import chain_results, worst_and_best_seed
from reports.results.reading import read_studies
from reports.tables.refinement import refinement_table
from reports.tables.rendering import to_csv

NAME = "cosine global"
CHAINS = {"perfect": 0.4327, "hard case": None, "SAM": 0.432}


def add_chains(results, name=NAME):
    """`perfect` puts the object at 255 and all else at 0; `hard case` failed under seed 1."""
    plan = read_table(results, "plan")
    mine = plan[plan["configuration"] == name]
    listed = []
    for trial in mine.itertuples():
        for position, (chain, worse) in enumerate(CHAINS.items()):
            key = None if chain == "SAM" else f"c{position}{trial.trial_key}"
            listed.append({
                "study": trial.study,
                "trial_key": trial.trial_key,
                "refinement": chain,
                "position": position,
                "scores_key": key,
                "lacks": "no weights were given" if key is None else None,
                "chain": "{}",
                "published_worse": worse,
                "published_best": None,
                "published_from": "a thesis",
            })  # fmt: skip
            if key is not None:
                failed = chain == "hard case" and trial.seed == 1
                write_chain(results, trial, chain, key, failed=failed)
    listed += [
        {
            "study": trial.study,
            "trial_key": trial.trial_key,
            "refinement": row,
            "position": 9,
            "published_worse": share,
            "published_from": "a thesis",
        }
        for trial in mine.itertuples()
        for row, share in ((PLAIN, 0.3742), (OPTIMAL, 0.5392))
    ]
    write_part(results, "refinements", "strategies", listed)


def write_chain(results, trial, chain, key, *, failed):
    if not failed:
        for table in ("scores", "panels"):
            rows = read_table(results, table, keys=[trial.trial_key]).to_dict("records")
            for row in rows:
                row["refinement"] = chain
                if table == "scores":
                    row.update(dict.fromkeys(("peak", "context", "ring", "source", "flags")))
                    for ground, level in (("foreground", 255), ("background", 0)):
                        counts = np.zeros(256, np.uint32)
                        counts[level if chain == "perfect" else 0] = row[ground].sum()
                        row[ground] = counts
                    for name in ("logit_without_object", "logit_without_context"):
                        row[name] = None
            write_part(results, table, key, rows)
    ended = {
        "scores_key": key,
        "trial_key": trial.trial_key,
        "refinement": chain,
        "status": "failed" if failed else "ok",
        "error": "InputError: it went wrong" if failed else None,
        "ended_at": datetime.now(UTC),
    }
    write_part(results, "refined", key, [ended])


@pytest.fixture
def record(build_ledger, tmp_path):
    build_ledger(tmp_path, states={})
    add_chains(tmp_path)
    (found,) = read_studies(tmp_path)
    return found


def cells(record, chain, configuration=NAME):
    table = refinement_table(record)
    keys = [column.key for column in table.columns]
    for row in table.rows:
        found = dict(zip(keys, row, strict=True))
        if found["refinement"].text == chain and found["configuration"].text == configuration:
            return found
    raise AssertionError(f"no row {chain}")


def test_a_perfect_chain_has_an_iou_of_100_and_its_difference_is_to_the_plain_cam(record):
    row = cells(record, "perfect")
    plain = record.by_seed(NAME, "per_image_iou")
    assert row["per_image_iou"].text == "100.0 ± 0.0"
    assert row["delta"].data["mean"] == pytest.approx(1 - np.mean(list(plain.values())))
    assert row["n"].text == "3 of 3"


def test_the_least_difference_is_that_of_the_seed_that_a_chain_helps_least(record):
    plain = record.by_seed(NAME, "per_image_iou")
    least = cells(record, "perfect")["least"]
    assert least.data[""] == pytest.approx(1 - max(plain.values()))
    assert least.text == f"+{100 * least.data['']:.1f}"
    assert cells(record, PLAIN)["least"].data[""] is None
    assert cells(record, "SAM")["least"].data[""] is None


def test_worse_and_best_seed_are_chosen_by_the_score_before_refinement(record):
    plain = record.by_seed(NAME, "per_image_iou")
    worse, best = worst_and_best_seed(plain)
    row = cells(record, PLAIN)
    assert row["worse"].data[""] == min(plain.values()) == plain[worse]
    assert row["best"].data[""] == max(plain.values()) == plain[best]


def test_a_chain_without_weights_says_not_run_and_why(record):
    row = cells(record, "SAM")
    assert {row[key].text for key in ("per_image_iou", "worse", "best")} == {"not run"}
    assert row["published_worse"].text == "43.20"
    assert "SAM is not run: no weights were given." in refinement_table(record).notes


def test_a_failed_chain_says_so_in_its_row(record):
    row = cells(record, "hard case")
    assert row["n"].text == "2 of 3"
    assert "1 failed" in row["per_image_iou"].text


def test_the_per_image_oracle_is_the_last_row_and_never_the_best(record):
    mine = [row for row in chain_results(record) if row.configuration.name == NAME]
    assert mine[-1].name == OPTIMAL
    oracle = cells(record, f"{OPTIMAL} (upper bound)")
    assert not oracle["per_image_iou"].best
    assert oracle["published_worse"].text == "53.92"
    assert (
        oracle["per_image_iou"].data["mean"] >= cells(record, PLAIN)["per_image_iou"].data["mean"]
    )


def test_csv_holds_the_unrounded_figures(record):
    text = to_csv(refinement_table(record))
    assert text.splitlines()[0].startswith("configuration,refinement,per_image_iou_mean")
    assert f"{NAME},perfect,1.0,0.0,3,3," in text


def test_the_figures_show_every_chain_that_ran_under_the_best_seed(record):
    dots = chain_dots_info(record)
    assert f"{NAME}: perfect" in [row.name for row in dots.rows]
    panels = chain_panels_info(record)
    _, best = worst_and_best_seed(record.by_seed(NAME, "per_image_iou"))
    assert panels.seed == best
    assert panels.columns[0] == PLAIN
    assert "perfect" in panels.columns
    assert all(cell.cam is not None for row in panels.rows for cell in row.cells)


def test_a_configuration_without_chains_has_none_but_the_rows_that_every_table_has(record):
    mine = [row for row in chain_results(record) if row.configuration.name == "ViT alone"]
    assert [row.name for row in mine if row.states.total()] == [PLAIN, OPTIMAL]


def test_the_page_has_a_section_of_refinement(record):
    view = study_view(record)
    assert "refinement" in view.tables
    assert {"refinement_dots", "refinement_panels"} <= view.figures.keys()
    assert set(view.outcomes["refinement"]) == {PLAIN, "perfect", "hard case"}
