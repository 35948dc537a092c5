"""The output of `wsss thresholds`: every threshold chosen, its figures, and the curves."""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from reports.ledger.digest import to_parquet
from reports.names import MEASURE_NAMES, MEASURES, NEVER_PREDICTED, PLAIN, SHORT_MEASURE_NAMES
from reports.results.reading import read_studies
from reports.results.score_curves import CURVES, score_curves
from reports.results.score_rows import IMAGE_COUNTS
from reports.results.study_record import StudyRecord, TrialRecord
from reports.results.trial_cache import read_scores
from reports.statistics import Summary, summarise
from reports.storage import Location
from reports.tables.cells import ABSENT, equals, mean_and_spread, never_predicted_notes, points
from reports.tables.csv_text import frame_to_csv
from reports.tables.thresholds import peeks_at
from wsss_core.errors import as_input_error
from wsss_core.whole_files import whole_file, write_whole

LISTING_FILES = ("threshold_choices.csv", "threshold_choices.parquet", "threshold_curves.parquet")
"""The files it writes; the report's tables, which may lie in the same folder, have other names."""

GROUP = ("configuration", "refinement", "seed", "network", "class_name")
CHOICE_COLUMNS = (
    "study",
    *GROUP,
    "rule",
    "peeks_at",
    "level",
    "threshold",
    *MEASURES,
    "price",
    "precision",
    "recall",
    "precision_all_images",
    "trial_key",
    "status",
    *IMAGE_COUNTS,
)
CURVES_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("study", "configuration", "refinement")),
        ("seed", pa.int64()),
        ("fold", pa.int64()),
        *((name, pa.string()) for name in ("network", "class_name", "split")),
        ("level", pa.int16()),
        ("threshold", pa.float64()),
        *((name, pa.float64()) for name in CURVES),
    ]
)
_HEADERS = {"class_name": "class", "refinement": "chain"}
_RIGHT = ("seed", "fold", "threshold", "level", "price", *SHORT_MEASURE_NAMES.values())


@dataclass(frozen=True)
class ThresholdListing:
    """The output of the command.

    Attributes:
        records: the studies.
        files: the files it wrote.

    """

    records: tuple[StudyRecord, ...]
    files: tuple[Path, ...]

    @property
    def text(self) -> str:
        """The listing for a terminal."""
        return "\n\n".join(describe_thresholds(record) for record in self.records)


def list_thresholds(
    results: Location,
    out: Path,
    *,
    processes: int = 1,
) -> ThresholdListing:
    """List the thresholds of every study of a results folder and write choices and curves.

    Args:
        results: a folder with `ledger/`, a path or a URI.
        out: the folder of `LISTING_FILES`; made if it does not exist.
        processes: see `reports.results.trial_cache.read_figures`.

    Raises:
        InputError: the ledger has no plan, a part of it cannot be read, or `out` cannot be written.

    """
    records = read_studies(results, processes=processes)
    choices = pd.concat([threshold_choices(one) for one in records], ignore_index=True)
    files = tuple(out / name for name in LISTING_FILES)
    with as_input_error(f"{out}: the thresholds cannot be written there", OSError):
        out.mkdir(parents=True, exist_ok=True)
        write_whole(files[0], frame_to_csv(choices).encode())
        write_whole(files[1], to_parquet(pa.Table.from_pandas(choices, preserve_index=False)))
        _write_curves(results, records, files[2])
    return ThresholdListing(tuple(records), files)


def threshold_choices(record: StudyRecord) -> pd.DataFrame:
    """Return every choice: a row per configuration, chain, seed, network, class and rule.

    Returns:
        Columns `CHOICE_COLUMNS`, with `fold` after `seed` in a study with folds, of the test
        split; shares in [0, 1]. `price` is the objective under the dataset oracle minus the
        objective under the rule. `refinement` is the chain.

    """
    outcomes = record.outcomes()
    if "rule" not in outcomes:
        return pd.DataFrame(columns=list(CHOICE_COLUMNS))
    columns = list(CHOICE_COLUMNS)
    if record.folds:
        columns.insert(columns.index("seed") + 1, "fold")
    return outcomes.loc[outcomes["split"] == "test", columns].reset_index(drop=True)


def _write_curves(results: Location, records: Sequence[StudyRecord], file: Path) -> None:
    """Write the curves trial by trial, because a large study has many."""
    with (
        whole_file(file) as opened,
        pq.ParquetWriter(opened, CURVES_SCHEMA, compression="zstd") as writer,
    ):
        for record in records:
            for chain, trial in record.every_trial():
                if trial.figures is None:
                    continue
                found = score_curves(read_scores(results, trial.key)).assign(
                    study=record.name,
                    configuration=trial.configuration,
                    refinement=chain,
                    seed=trial.seed,
                    fold=trial.fold,
                )
                writer.write_table(
                    pa.Table.from_pandas(found, schema=CURVES_SCHEMA, preserve_index=False)
                )


def describe_thresholds(record: StudyRecord) -> str:
    """Write a study's thresholds for a terminal: legend, choices, mean prices, missing trials."""
    choices = threshold_choices(record)
    parts = [f"{record.name}: {record.title}", _legend(record)]
    if choices.empty:
        parts.append("no trial has scores yet")
    else:
        parts += [_aligned(_lines(choices)), _aligned(_price_lines(record, choices))]
    parts += never_predicted_notes(record)
    unscored = [
        f"no scores: {trial.configuration}"
        + ("" if chain == PLAIN else f", {chain}")
        + f", seed {trial.pair} ({trial.status})"
        for chain, trial in _unscored(record)
    ]
    return "\n\n".join([*parts, *(["\n".join(unscored)] if unscored else [])])


def threshold_record(record: StudyRecord) -> dict[str, Any]:
    """Return a study's thresholds as plain values, for scripts; shares are in [0, 1]."""
    choices = threshold_choices(record)
    levels = [None if math.isnan(level) else int(level) for level in choices.pop("level")]
    names = {"refinement": "chain", "class_name": "class"}
    rows = choices.drop(columns="study").rename(columns=names).to_dict("records")
    return {
        "study": record.name,
        "title": record.title,
        "objective": record.objective,
        "main_class": record.main_class,
        "rules": peeks_at(record),
        "choices": [
            {**row, "threshold_level": level, "never_predicted": _never_predicted(row)}
            for row, level in zip(rows, levels, strict=True)
        ],
        "mean_prices": [
            {"chain": chain, "rule": rule, "mean": price.mean, "sd": price.sd, "n": price.n}
            for chain, rule, price in _mean_prices(record, choices)
        ],
        "unscored": [
            {
                "configuration": trial.configuration,
                "chain": chain,
                "seed": trial.seed,
                **({} if trial.fold is None else {"fold": trial.fold}),
                "status": trial.status,
            }
            for chain, trial in _unscored(record)
        ],
    }


def _unscored(record: StudyRecord) -> Iterator[tuple[str, TrialRecord]]:
    """Yield the trials without scores, each with its chain."""
    yield from (found for found in record.every_trial() if found[1].figures is None)


def _legend(record: StudyRecord) -> str:
    seen = peeks_at(record)
    width = max(map(len, seen))
    rules = "\n".join(f"  {rule:<{width}}  {what}" for rule, what in seen.items())
    return (
        "IoU and price in percent points, on the test split; a pixel is foreground if its score\n"
        "is at least the threshold. Positive: over the images that hold the class, of several\n"
        "any; all: over all images. Tuned and dataset-oracle rules maximise\n"
        f"the {MEASURE_NAMES[record.objective]};\n"
        "the price of not knowing the masks is the dataset oracle's advantage in it.\n"
        f"Rules and what they peek at:\n{rules}"
    )


def _lines(choices: pd.DataFrame) -> list[list[str]]:
    """Return header and rows; values that are equal throughout, or as above, are not repeated."""
    always = ("configuration", "seed", "fold")
    shown = [
        name
        for name in choices
        if name in (*GROUP, "fold") and (name in always or _varies(choices, name))
    ]
    header = [*shown, "rule", "threshold", "level", *SHORT_MEASURE_NAMES.values(), "price"]
    stated = any(map(_never_predicted, choices.to_dict("records")))
    header += ["state"] if stated else []
    lines = [[_HEADERS.get(name, name) for name in header]]
    above: list[str] = []
    for row in choices.to_dict("records"):
        group = [str(row[name]) for name in shown]
        same = 0
        while same < len(above) and group[same] == above[same]:
            same += 1
        cut = not math.isnan(row["level"])
        never = _never_predicted(row)
        lines.append(
            [
                *([""] * same),
                *group[same:],
                str(row["rule"]),
                f"{row['threshold']:.3f}" if cut else ABSENT,
                f"{row['level']:.0f}" if cut else ABSENT,
                *(ABSENT if never else points(row[measure]) for measure in SHORT_MEASURE_NAMES),
                points(row["price"]),
                *([NEVER_PREDICTED if never else ""] if stated else []),
            ]
        )
        above = group
    return lines


def _never_predicted(row: Mapping[Hashable, Any]) -> bool:
    """Return whether gating emptied the map of every image that holds the class of a row."""
    return bool(0 < row["images_with_class"] == row["images_with_class_gated"])


def _varies(choices: pd.DataFrame, name: str) -> bool:
    return choices[name].nunique() > 1


def _price_lines(record: StudyRecord, choices: pd.DataFrame) -> list[list[str]]:
    """Return mean prices by chain and rule, as header and rows."""
    several = _varies(choices, "refinement")
    lines = [[*(["chain"] if several else []), "rule", "mean price over healthy trials"]]
    for chain, rule, price in _mean_prices(record, choices):
        text = f"{mean_and_spread(price)} ({equals('n', price.n)})"
        lines.append([*([chain] if several else []), rule, text])
    return lines


def _mean_prices(record: StudyRecord, choices: pd.DataFrame) -> Iterator[tuple[str, str, Summary]]:
    """Yield chain, rule and mean price, over the students of healthy trials, main class."""
    chosen = choices[
        (choices["status"] == "ok")
        & (choices["network"] == "student")
        & (choices["class_name"] == record.main_class)
        & choices["price"].notna()
    ]
    for (chain, rule), rows in chosen.groupby(["refinement", "rule"], sort=False):
        yield str(chain), str(rule), summarise(rows["price"])


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    right = [name in _RIGHT for name in lines[0]]
    return "\n".join(
        "  ".join(
            text.rjust(width) if flush else text.ljust(width)
            for text, width, flush in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )
