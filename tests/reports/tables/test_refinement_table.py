"""The post-processing table on a ledger whose chains have known scores."""

from datetime import UTC, datetime

import numpy as np
import pytest

from reports.figures.refinement import chain_dots_info, chain_panels_info
from reports.ledger.parts import read_table, write_part
from reports.names import OPTIMAL, PLAIN, TUNED_CHAIN
from reports.page.views import study_view
from reports.results.comparisons import chain_results, worst_and_best_seed
from reports.results.reading import read_studies
from reports.statistics import holm
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


def spoil(results, split, seed):
    """Turn the scores of `perfect` upside down: the object at 0, all else at 255."""
    plan = read_table(results, "plan")
    (key,) = plan[(plan["configuration"] == NAME) & (plan["seed"] == seed)]["trial_key"]
    rows = read_table(results, "scores", keys=[f"c0{key}"]).to_dict("records")
    for row in rows:
        if row["split"] == split:
            for ground in ("foreground", "background"):
                row[ground] = row[ground][::-1].copy()
        row |= {name: None for name, value in row.items() if np.isscalar(value) and value != value}
    write_part(results, "scores", f"c0{key}", rows)


def tuned_row(results):
    (record,) = read_studies(results)
    (found,) = (row for row in chain_results(record) if row.name == TUNED_CHAIN)
    return record, found


def test_the_tuned_chain_is_of_each_seed_the_one_that_is_best_on_the_tune_split(record, tmp_path):
    plain = record.by_seed(NAME, "per_image_iou")
    _, perfect = tuned_row(tmp_path)
    assert set(perfect.chosen.values()) == {"perfect"}
    assert perfect.by_seed == dict.fromkeys(plain, 1.0)

    spoil(tmp_path, "tune", 1)  # its test split stays perfect, which nobody may know
    spoil(tmp_path, "test", 2)  # its tune split stays perfect
    changed, tuned = tuned_row(tmp_path)
    assert tuned.chosen == {0: "perfect", 1: PLAIN, 2: "perfect"}
    assert tuned.by_seed[0] == 1
    assert tuned.by_seed[1] == plain[1]
    assert tuned.by_seed[2] < plain[2]

    row = cells(changed, TUNED_CHAIN)
    assert row["n"].text == "3 of 3"
    assert row["least"].data[""] == pytest.approx(tuned.by_seed[2] - plain[2])
    assert row["holm_p"].text == row["fixed"].text == "–"
    assert f"{NAME}, tuned chain: perfect 2 of 3, none 1 of 3." in refinement_table(changed).notes
    assert f"{NAME}: tuned chain" in [dots.name for dots in chain_dots_info(changed).rows]


def test_a_seed_has_no_tuned_chain_while_one_of_its_chains_is_to_do(record, tmp_path):
    plan = read_table(tmp_path, "plan")
    key = plan[(plan["configuration"] == NAME) & (plan["seed"] == 2)]["trial_key"].iloc[0]
    write_part(tmp_path, "refined", f"c1{key}", [])
    waiting, tuned = tuned_row(tmp_path)
    assert sorted(tuned.chosen) == [0, 1]
    assert cells(waiting, TUNED_CHAIN)["n"].text == "2 of 3"


def test_the_tuned_chain_leaves_the_correction_of_the_others_as_it_was(record):
    results = [row for row in chain_results(record) if row.difference is not None]
    chains = [row for row in results if row.name != TUNED_CHAIN]
    assert len(results) == len(chains) + 1
    assert [row.corrected_p for row in chains] == holm([row.difference.p for row in chains])


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
