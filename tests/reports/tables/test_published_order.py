"""Whether a study agrees with a published ordering, against plain loops and scipy."""

import math
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from reports.names import PLAIN
from reports.results.outcomes import OUTCOME_COLUMNS, TrialFigures
from reports.results.study_record import ConfigurationRecord, PanelParts, StudyRecord, TrialRecord
from reports.tables.published_order import (
    kendall_tau,
    published_headline,
    published_order,
    published_order_table,
)

SOURCE = "thesis, IJmond"
# Published share and mean here; "d" is tied with "c", "unpublished" has no number.
STUDY = {
    "a": (0.47, 0.40),
    "b": (0.45, 0.30),
    "c": (0.38, 0.42),
    "d": (0.38, 0.10),
    "e": (0.02, 0.31),
    "unpublished": (None, 0.50),
}


def study(published, by_seed, source=SOURCE):
    """A record of IoU by configuration and seed; a text is how a trial ended instead."""
    trials = {}
    for name, seeds in by_seed.items():
        for seed, ended in seeds.items():
            figures, status = None, "ok"
            if isinstance(ended, str):
                status = ended
            else:
                row = {
                    "network": "student", "class_name": "smoke", "split": "test", "rule": "tuned",
                    "per_image_iou": ended,
                }  # fmt: skip
                outcomes = pd.DataFrame([row], columns=list(OUTCOME_COLUMNS))
                figures = TrialFigures(outcomes, {})
            trials[name, seed, PLAIN] = TrialRecord(
                f"{name}-{seed}", name, seed, status, {}, figures
            )
    blank = dict.fromkeys(ConfigurationRecord.__dataclass_fields__)
    given = {"paradigm": "single", "student": "vit", "fixed_threshold": 0.3}
    configurations = tuple(
        ConfigurationRecord(
            **{
                **blank,
                **given,
                "name": name,
                "published": published[name],
                "published_from": None if published[name] is None else source,
            }
        )
        for name in by_seed
    )
    return StudyRecord(
        name="strategies",
        title="?",
        objective="per_image_iou",
        rule="tuned",
        configurations=configurations,
        seeds=tuple(sorted({seed for seeds in by_seed.values() for seed in seeds})),
        classes=("smoke",),
        all_trials=trials,
        history={},
        panels=PanelParts(Path()),
        sweep=None,
        sweep_value=None,
    )


@pytest.fixture(scope="module")
def shares():
    """Five seeds around each mean; the first configuration lost its last trial."""
    random = np.random.default_rng(3)
    return {
        name: {seed: float(mean + random.normal(0, 0.02)) for seed in range(5 - (name == "a"))}
        for name, (_, mean) in STUDY.items()
    }


@pytest.fixture(scope="module")
def record(shares):
    published = {name: entry[0] for name, entry in STUDY.items()}
    return study(published, {**shares, "a": {**shares["a"], 4: "failed"}})


@pytest.fixture(scope="module")
def expected(shares):
    """By (better, worse): t interval over the shared seeds, p, and the verdict."""
    found = {}
    names = [name for name, (share, _) in STUDY.items() if share is not None]
    for first in names:
        for second in names:
            if STUDY[first][0] <= STUDY[second][0]:
                continue
            seeds = sorted(set(shares[first]) & set(shares[second]))
            differences = [shares[first][seed] - shares[second][seed] for seed in seeds]
            low, high = scipy.stats.t.interval(
                0.95, len(seeds) - 1, loc=np.mean(differences), scale=scipy.stats.sem(differences)
            )
            verdict = "agrees" if low > 0 else "contradicts" if high < 0 else "open"
            p = scipy.stats.ttest_1samp(differences, 0).pvalue
            found[first, second] = (low, high, p, verdict)
    return found


def cell(table, name, key):
    keys = [column.key for column in table.columns]
    (row,) = [row for row in table.rows if row[0].text == name]
    return row[keys.index(key)]


def test_pairs_are_all_whose_published_numbers_differ(record, expected):
    pairs = published_order(record).pairs

    # 10 pairs of five configurations, less the tie of c and d.
    assert len(pairs) == len(expected) == 9
    assert {(pair.better, pair.worse) for pair in pairs} == set(expected)
    for pair in pairs:
        assert pair.published == pytest.approx(STUDY[pair.better][0] - STUDY[pair.worse][0])


def test_a_pair_is_judged_by_scipys_interval_over_the_seeds_both_have(record, expected):
    order = published_order(record)

    for pair in order.pairs:
        low, high, p, verdict = expected[pair.better, pair.worse]
        assert (pair.difference.summary.low, pair.difference.summary.high) == pytest.approx(
            (low, high)
        )
        assert pair.difference.p == pytest.approx(p)
        assert pair.verdict == verdict
    assert order.counts == Counter(entry[3] for entry in expected.values())
    assert set(order.counts) == {"agrees", "contradicts", "open"}


def test_p_values_are_corrected_over_all_pairs_by_holm(record, expected):
    order = published_order(record)
    corrected, largest = {}, 0.0
    for rank, key in enumerate(sorted(expected, key=lambda key: expected[key][2])):
        largest = max(largest, min(1.0, (9 - rank) * expected[key][2]))
        corrected[key] = largest

    for pair in order.pairs:
        assert pair.corrected_p == pytest.approx(corrected[pair.better, pair.worse])
    assert order.corrected_counts == Counter(
        expected[key][3] for key, p in corrected.items() if p < 0.05
    )


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=9),
)
def test_tau_is_scipys_tau_b_ties_included(pairs):
    first, second = zip(*pairs, strict=True)
    theirs = scipy.stats.kendalltau(first, second).statistic
    ours = kendall_tau(first, second)

    if math.isnan(theirs):
        assert ours is None
    else:
        assert ours == pytest.approx(theirs)


def test_tau_is_of_published_numbers_and_means(record, shares):
    names = ["a", "b", "c", "d", "e"]
    theirs = scipy.stats.kendalltau(
        [STUDY[name][0] for name in names],
        [np.mean(list(shares[name].values())) for name in names],
    )

    assert published_order(record).tau == pytest.approx(theirs.statistic)


def test_one_seed_leaves_every_pair_open():
    order = published_order(study({"a": 0.4, "b": 0.2}, {"a": {0: 0.9}, "b": {0: 0.1}}))

    assert order.counts == {"open": 1}
    assert order.corrected_counts == {}


def test_a_row_per_configuration_with_a_published_number(record, shares):
    table = published_order_table(record)
    values = [100 * value for value in shares["b"].values()]

    assert [row[0].text for row in table.rows] == ["a", "b", "c", "d", "e"]
    assert cell(table, "e", "published").text == "2.00"
    assert cell(table, "b", "iou").text == (f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}")
    assert cell(table, "a", "iou").text.endswith("(4 of 5, 1 failed)")
    assert SOURCE in table.caption
    assert "another data set" in table.caption


def test_ranks_go_down_from_the_highest_and_equals_share_the_better(record):
    table = published_order_table(record)

    ranks = {name: cell(table, name, "rank_published").text for name in "abcde"}
    assert ranks == {"a": "1", "b": "2", "c": "3", "d": "3", "e": "5"}
    assert {name: cell(table, name, "rank").text for name in "acd"} == {
        "a": "2",
        "c": "1",
        "d": "5",
    }


def test_a_row_counts_the_verdicts_on_its_own_pairs(record, expected):
    table = published_order_table(record)

    for name in "abcde":
        mine = Counter(entry[3] for pair, entry in expected.items() if name in pair)
        for verdict in ("agrees", "contradicts", "open"):
            assert cell(table, name, verdict).text == str(mine[verdict])


def test_notes_name_each_contradicted_and_each_confirmed_pair(record, expected):
    contradicted, confirmed = published_order_table(record).notes

    for note, opening, verdict in (
        (contradicted, "Contradicted: ", "contradicts"),
        (confirmed, "Confirmed: ", "agrees"),
    ):
        assert note.startswith(opening)
        for (better, worse), entry in expected.items():
            assert (f"{better} over {worse} (published +" in note) == (entry[3] == verdict)


def test_notes_name_ten_pairs_at_most_and_count_the_rest():
    random = np.random.default_rng(1)
    names = "abcdef"
    order = study(
        {name: 0.9 - 0.1 * i for i, name in enumerate(names)},
        {
            name: {seed: 0.9 - 0.1 * i + random.normal(0, 1e-3) for seed in range(3)}
            for i, name in enumerate(names)
        },
    )
    (note,) = published_order_table(order).notes

    assert len(list(combinations(names, 2))) == 15
    assert note.count(" over ") == 10
    assert note.endswith("; and 5 more.")


def test_who_cannot_be_judged_is_noted():
    seeds = {"a": {0: 0.4, 1: 0.5}, "b": {0: "collapsed", 1: "collapsed"}}
    table = published_order_table(study({"a": 0.4, "b": 0.003}, seeds))

    assert cell(table, "b", "iou").text == "collapsed"
    assert cell(table, "b", "rank").text == "–"
    assert table.notes == (
        "Fewer than two healthy trials, so all their pairs are open: b (0 of 2, 2 collapsed).",
    )


def test_the_headline_counts_pairs_before_and_after_correction(record, expected):
    order = published_order(record)
    text = published_headline(record)

    assert f"Of 9 pairs in the published order ({SOURCE}), the 95\u00a0% intervals here" in text
    agrees, contradicts, open_ = (order.counts[v] for v in ("agrees", "contradicts", "open"))
    assert f"confirm {agrees}, contradict {contradicts} and leave {open_} open" in text
    kept = order.corrected_counts
    assert f"{kept['agrees']} stay confirmed and {kept['contradicts']} contradicted" in text
    assert f"Kendall's tau-b of the means is {order.tau:.2f}." in text.replace("−", "-")


@pytest.mark.parametrize(
    "published", [{"a": None, "b": None}, {"a": 0.4, "b": None}, {"a": 0.4, "b": 0.4}]
)
def test_without_two_published_numbers_that_differ_there_is_no_headline(published):
    record = study(published, {"a": {0: 0.4, 1: 0.5}, "b": {0: 0.2, 1: 0.4}})

    assert published_headline(record) is None
    assert published_order(record).pairs == ()
