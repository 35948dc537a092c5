"""What ``wsss thresholds`` prints and writes: every choice, its figures, and the curves it cut."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from reports.results.outcomes import MEASURES
from reports.results.reading import read_studies
from reports.results.score_curves import CURVES, score_curves
from reports.results.study_record import PLAIN, StudyRecord
from reports.results.trial_cache import read_scores
from reports.statistics import summarise
from reports.storage.locations import Location
from reports.tables.cells import ABSENT, MEASURE_NAMES, equals, mean_and_spread, points
from reports.tables.thresholds import peeks_at
from wsss_core.errors import InputError

FILES = ("threshold_choices.csv", "threshold_choices.parquet", "threshold_curves.parquet")
"""Names that differ from those of the report's tables, which may lie in the same folder."""

GROUP = ("configuration", "refinement", "seed", "network", "class_name")
CHOICES = (
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
    "trial_key",
    "status",
)
CURVES_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("study", "configuration", "refinement")),
        ("seed", pa.int64()),
        *((name, pa.string()) for name in ("network", "class_name", "split")),
        ("level", pa.int16()),
        ("threshold", pa.float64()),
        *((name, pa.float64()) for name in CURVES),
    ]
)
_SHORT = {
    "per_image_iou": "per-image IoU",
    "dataset_iou": "dataset IoU",
    "dataset_miou": "dataset mIoU",
}
_RIGHT = ("seed", "threshold", "level", "price", *_SHORT.values())


@dataclass(frozen=True)
class ThresholdListing:
    """What the command made.

    Attributes:
        text: For the terminal.
        files: What it wrote.

    """

    text: str
    files: tuple[Path, ...]


def list_thresholds(
    results: Location,
    out: Path,
    *,
    processes: int = 1,
) -> ThresholdListing:
    """List the thresholds of every study of a results folder and write choices and curves.

    Args:
        results: A folder with ``ledger/``.
        out: Folder of ``FILES``; made if absent.
        processes: see `reports.results.trial_cache.read_figures`.

    Raises:
        InputError: If the ledger has no plan, a part of it cannot be read, or ``out`` cannot be
            written.

    """
    records = read_studies(results, processes=processes)
    choices = pd.concat([threshold_choices(one) for one in records], ignore_index=True)
    files = tuple(out / name for name in FILES)
    try:
        out.mkdir(parents=True, exist_ok=True)
        choices.to_csv(files[0], index=False, lineterminator="\n")
        pq.write_table(pa.Table.from_pandas(choices, preserve_index=False), files[1])
        _write_curves(results, records, files[2])
    except OSError as error:
        raise InputError(f"{out}: the thresholds cannot be written there ({error})") from error
    return ThresholdListing("\n\n".join(describe_thresholds(one) for one in records), files)


def threshold_choices(record: StudyRecord) -> pd.DataFrame:
    """Give every choice: a row per configuration, refinement, seed, network, class and rule.

    Returns:
        Columns ``CHOICES``, of the test split; shares in [0, 1]. ``price`` is the objective under
        the dataset oracle less that under the rule.

    """
    outcomes = record.outcomes()
    if "rule" not in outcomes:
        return pd.DataFrame(columns=list(CHOICES))
    return outcomes.loc[outcomes["split"] == "test", list(CHOICES)].reset_index(drop=True)


def _write_curves(results: Location, records: Sequence[StudyRecord], file: Path) -> None:
    """Write the curves of one trial after the other, as those of a large study are many.

    Under a temporary name first, so that no half a file is left where this is broken off.
    """
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        with pq.ParquetWriter(temporary, CURVES_SCHEMA, compression="zstd") as writer:
            for record in records:
                for refinement, trial in record.every_trial():
                    if trial.figures is None:
                        continue
                    found = score_curves(read_scores(results, trial.key)).assign(
                        study=record.name,
                        configuration=trial.configuration,
                        refinement=refinement,
                        seed=trial.seed,
                    )
                    writer.write_table(
                        pa.Table.from_pandas(found, schema=CURVES_SCHEMA, preserve_index=False)
                    )
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def describe_thresholds(record: StudyRecord) -> str:
    """Write a study's thresholds for a terminal: legend, choices, mean prices, what is missing."""
    choices = threshold_choices(record)
    parts = [f"{record.name}: {record.title}", _legend(record)]
    if choices.empty:
        parts.append("no trial has scores yet")
    else:
        parts += [_aligned(_lines(choices)), _aligned(_price_lines(record, choices))]
    unscored = [
        f"no scores: {trial.configuration}"
        + ("" if refinement == PLAIN else f", {refinement}")
        + f", seed {trial.seed} ({trial.status})"
        for refinement, trial in record.every_trial()
        if trial.figures is None
    ]
    return "\n\n".join([*parts, *(["\n".join(unscored)] if unscored else [])])


def _legend(record: StudyRecord) -> str:
    seen = peeks_at(record)
    width = max(map(len, seen))
    rules = "\n".join(f"  {rule:<{width}}  {what}" for rule, what in seen.items())
    return (
        "IoU and price in percent points, on the test split; a pixel is marked where its score is\n"
        "at least the threshold. Tuned and dataset-oracle rules maximise the "
        f"{MEASURE_NAMES[record.objective]};\n"
        "the price of not knowing the masks is what the dataset oracle has more of it.\n"
        f"Rules and what they peek at:\n{rules}"
    )


def _lines(choices: pd.DataFrame) -> list[list[str]]:
    """Header and rows; what is the same throughout, or as in the row above, is not repeated."""
    shown = [name for name in GROUP if name in ("configuration", "seed") or _varies(choices, name)]
    header = [*shown, "rule", "threshold", "level", *_SHORT.values(), "price"]
    lines = [["class" if name == "class_name" else name for name in header]]
    above: list[str] = []
    for row in choices.to_dict("records"):
        group = [str(row[name]) for name in shown]
        same = 0
        while same < len(above) and group[same] == above[same]:
            same += 1
        cut = not math.isnan(row["level"])
        lines.append(
            [
                *([""] * same),
                *group[same:],
                str(row["rule"]),
                f"{row['threshold']:.3f}" if cut else ABSENT,
                f"{row['level']:.0f}" if cut else ABSENT,
                *(points(row[measure]) for measure in _SHORT),
                points(row["price"]),
            ]
        )
        above = group
    return lines


def _varies(choices: pd.DataFrame, name: str) -> bool:
    return choices[name].nunique() > 1


def _price_lines(record: StudyRecord, choices: pd.DataFrame) -> list[list[str]]:
    """Mean price by refinement and rule over the healthy trials' students, of the main class."""
    chosen = choices[
        (choices["status"] == "ok")
        & (choices["network"] == "student")
        & (choices["class_name"] == record.main_class)
        & choices["price"].notna()
    ]
    refined = _varies(choices, "refinement")
    lines = [[*(["refinement"] if refined else []), "rule", "mean price over healthy trials"]]
    for (refinement, rule), rows in chosen.groupby(["refinement", "rule"], sort=False):
        summary = summarise(rows["price"])
        text = f"{mean_and_spread(summary)} ({equals('n', summary.n)})"
        lines.append([*([str(refinement)] if refined else []), str(rule), text])
    return lines


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
