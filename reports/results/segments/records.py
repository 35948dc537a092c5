"""Reading the segmenters of a study: what was planned, how each run ended, its counts."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from reports.ledger.parts import read_arrow
from reports.names import MEAN_OF_CLASSES
from reports.pairing import FoldedSeed, Pair, fold_of, pair_of
from reports.results.segments.counts import OF_ALL_CLASSES, SEGMENT_FIGURES, SegmentCounts
from reports.storage import Location


@dataclass(frozen=True)
class SegmentRun:
    """An entry under one seed, in a study with folds on one fold.

    Attributes:
        key: the key of its scores.
        segment_key: the key of the trained segmenter in the store.
        pair: its seed, and its fold.
        status: `ok`, `failed`, `collapsed`, or `missing` if the ledger has no result.
        row: its row of the table `segmented`, `started_at` in microseconds since 1970; empty if
            missing.
        counts: the counts of its test images; None without scores.

    """

    key: str
    segment_key: str
    pair: Pair
    status: str
    row: Mapping[str, Any] = field(default_factory=dict)
    counts: SegmentCounts | None = None

    @property
    def seed(self) -> int:
        """Its seed."""
        return self.pair.seed if isinstance(self.pair, FoldedSeed) else self.pair

    @property
    def fold(self) -> int | None:
        """Its fold; None in a study without folds."""
        return fold_of(self.pair)

    @cached_property
    def _of_class(self) -> dict[str | None, dict[str, float]]:
        return {}

    @property
    def figures(self) -> dict[str, float]:
        """Every figure of the mean over classes; empty without scores."""
        return self.figures_of(None)

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """The figures of each class, of several also of their mean; empty without scores."""
        if self.counts is None:
            return {}
        classes = self.counts.classes
        if len(classes) == 1:
            return {classes[0]: self.figures}
        of_class = {
            name: {f: v for f, v in self.figures_of(name).items() if f not in OF_ALL_CLASSES}
            for name in classes
        }
        return of_class | {MEAN_OF_CLASSES: self.figures}

    def figures_of(self, class_name: str | None) -> dict[str, float]:
        """Return every figure of a class, None for the mean over classes; worked out once."""
        if self.counts is None:
            return {}
        if class_name not in self._of_class:
            self._of_class[class_name] = self.counts.figures(class_name)
        return self._of_class[class_name]


@dataclass(frozen=True)
class SegmentRecord:
    """An entry of `segment`, common to its seeds; attributes are columns of the plan.

    Attributes:
        entry: its name.
        model: decoder, encoder, and where the weights are from.
        steps: of the training.
        overlap: the least IoU at which an object counts as found.
        prediction: how masks were predicted, JSON.
        masks: how many true masks were asked for, a number, "all", or "joined" for
            those of the images that join; None: none.
        configuration: whose maps became pseudo masks; None without pseudo masks.
        refinement: the chain of these maps.
        rule: the threshold rule that cut them.
        single_stage: the recipe of the training whose decoder it is; `configuration` then is that
            training's own, and `rule` cuts its maps for the comparison alone.
        published: another work's figure, a share.
        published_from: that work.
        runs: by seed (and fold), ascending.

    """

    entry: str
    model: str
    steps: int
    overlap: float
    prediction: str
    masks: str | None
    configuration: str | None
    refinement: str | None
    rule: str | None
    single_stage: str | None
    published: float | None
    published_from: str | None
    runs: tuple[SegmentRun, ...] = ()

    @property
    def states(self) -> Counter[str]:
        """How its runs ended."""
        return Counter(run.status for run in self.runs)

    @property
    def healthy(self) -> list[SegmentRun]:
        """The runs that ended well."""
        return [run for run in self.runs if run.status == "ok" and run.counts is not None]

    def by_seed(self, figure: str, class_name: str | None = None) -> dict[Pair, float]:
        """Return a figure by seed (and fold), over healthy runs and without NaN.

        Args:
            figure: one of `SEGMENT_FIGURES`.
            class_name: None: the mean over classes.

        """
        found = {}
        for run in self.healthy:
            value = run.figures_of(class_name)[figure]
            if not math.isnan(value):
                found[run.pair] = value
        return found

    @property
    def masks_spent(self) -> int | None:
        """How many true masks were looked at; of several seeds the most. None before any ended."""
        spent = [run.row["masks_spent"] for run in self.healthy]
        return int(max(spent)) if spent else None

    @property
    def views(self) -> str:
        """How its masks were predicted, in words; empty for one pass over the image alone."""
        given = json.loads(self.prediction)
        words = []
        if "scales" in given:
            words.append(f"scales {', '.join(f'{scale:g}' for scale in given.pop('scales'))}")
        if given.pop("flip", False):
            words.append("flips")
        if "crf" in given:
            words.append(f"then a dense CRF ({given.pop('crf')})")
        return ", ".join([*words, *(f"{name} {value}" for name, value in given.items())])

    def trained_on(self, rules: Mapping[str, str]) -> str:
        """Return what it was trained on, in words; for `rules` see `pseudo_masks`."""
        if self.single_stage is not None:
            return f"image labels, in one stage ({self.single_stage})"
        words = []
        if self.masks is not None:
            named = {"all": "all true masks", "joined": "true masks of the images that join"}
            words.append(named.get(self.masks, f"{self.masks} true masks"))
        if self.configuration is not None:
            words.append(self.pseudo_masks(rules))
        return " + ".join(words)

    def pseudo_masks(self, rules: Mapping[str, str]) -> str:
        """Return whose maps became its pseudo masks, in words; empty without pseudo masks.

        Args:
            rules: the name of each threshold rule in these words; others keep their own.

        """
        if self.configuration is None:
            return ""
        chain = "" if self.refinement in (None, "none") else f", {self.refinement}"
        rule = rules.get(self.rule or "", self.rule)
        return f"masks of {self.configuration}{chain} ({rule})"


_ABOUT = tuple(one for one in SegmentRecord.__dataclass_fields__ if one != "runs")


def read_segments(
    results: Location, study: str, sweep_value: float | None = None
) -> tuple[SegmentRecord, ...]:
    """Read the segmenters of a study, in the study's order.

    Args:
        results: the results folder.
        study: the study's name.
        sweep_value: the value of its sweep.

    """
    planned = read_arrow(results, "segments")
    planned = planned.filter(pc.equal(planned["study"], study))
    rows = [row for row in planned.to_pylist() if row["dial_value"] == sweep_value]
    rows.sort(key=lambda row: (row["position"], row["seed"], row["fold"] or 0))
    keys = [row["scores_key"] for row in rows]
    if not keys:
        return ()
    ended = read_arrow(results, "segmented", keys=keys)
    # As integers: pyarrow loads pandas to make moments of them.
    moments, place = ended["started_at"].cast(pa.int64()), ended.column_names.index("started_at")
    ended = ended.set_column(place, "started_at", moments)
    ends = {row["scores_key"]: row for row in ended.to_pylist()}
    ok = [key for key, row in ends.items() if row["status"] == "ok"]
    scores = read_arrow(results, "segment_scores", keys=ok)
    entries: dict[str, list[SegmentRun]] = {}
    about: dict[str, dict[str, Any]] = {}
    for row in rows:
        about.setdefault(row["entry"], {name: row[name] for name in _ABOUT})
        entries.setdefault(row["entry"], []).append(_run(row, ends, scores))
    return tuple(SegmentRecord(**about[name], runs=tuple(runs)) for name, runs in entries.items())


def _run(
    planned: Mapping[str, Any], ends: Mapping[str, dict[str, Any]], scores: pa.Table
) -> SegmentRun:
    key = planned["scores_key"]
    pair = pair_of(planned["seed"], planned["fold"])
    row = ends.get(key)
    if row is None:
        return SegmentRun(key, planned["segment_key"], pair, "missing")
    counts, status = None, row["status"]
    if status == "ok":
        of_run = scores.filter(pc.equal(scores["scores_key"], key))
        if of_run.num_rows:
            counts = SegmentCounts.of_rows(of_run)
        else:
            status = "missing"
    return SegmentRun(key, planned["segment_key"], pair, status, row, counts)


def segment_frame(
    studies: Sequence[tuple[str, float | None, Sequence[SegmentRecord]]],
) -> pd.DataFrame:
    """Return a row for each entry and seed: how it ended, its masks, all figures.

    Args:
        studies: a study's name, the value of its sweep (None without one), and its segmenters.

    """
    rows = [
        {
            "study": study,
            **({} if value is None else {"sweep_value": value}),
            **_frame_row(record, run),
        }
        for study, value, records in studies
        for record in records
        for run in record.runs
    ]
    return pd.DataFrame(rows)


def _frame_row(record: SegmentRecord, run: SegmentRun) -> dict[str, Any]:
    known = ("error", "masks_trained", "masks_spent", "level", "seconds_training")
    return {
        "entry": record.entry,
        "labels": record.trained_on({}),
        "model": record.model,
        "seed": run.seed,
        **({} if run.fold is None else {"fold": run.fold}),
        "status": run.status,
        **{name: run.row.get(name) for name in known},
        "segment_key": run.segment_key,
        "scores_key": run.key,
        **{name: run.figures.get(name, math.nan) for name in SEGMENT_FIGURES},
    }
