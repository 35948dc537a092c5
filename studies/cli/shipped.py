"""`wsss studies`: the studies that come with the package."""

import argparse
import shutil
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from studies.cli.common import Command, option, show
from studies.cli.strict_json import JSON_OPTION, Schema, of_schema, show_json
from studies.formatting import aligned

if TYPE_CHECKING:
    from studies.spec.shipped import ShippedStudy, StudySize


def _studies(options: argparse.Namespace) -> int:
    from studies.spec.loading import shipped_studies
    from studies.spec.shipped import shipped_study

    if options.study is not None:
        study = shipped_study(options.study)
        if options.json:
            show_json(of_schema(Schema.STUDY, _record(study)))
        else:
            show(_describe(study))
        return 0
    studies = [shipped_study(name) for name in shipped_studies()]
    if options.json:
        show_json(of_schema(Schema.STUDIES, {"studies": [_record(study) for study in studies]}))
    else:
        show(_list(studies))
    return 0


def _list(studies: "list[ShippedStudy]") -> str:
    """Return a line for each study; in a terminal, questions are cut at its width."""
    rows = [("study", "trials = configurations x seeds", "cost", "variants", "question")]
    rows += [
        (
            study.name,
            _trials(study.size),
            study.time,
            ", ".join(str(variant.variant) for variant in study.variants),
            study.title,
        )
        for study in studies
    ]
    lines = aligned(rows).splitlines()
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        lines = [line if len(line) <= width else f"{line[: width - 1]}…" for line in lines]
    return "\n".join([*lines, "", "more of one: wsss studies NAME; run it: wsss run NAME"])


def _describe(study: "ShippedStudy") -> str:
    rows = [("run with", "trials = configurations x seeds", "to give with --set", "changes")]
    for size in (study.size, *study.variants):
        variant = f" --variant {size.variant}" if size.variant else ""
        needs, changes = ", ".join(size.needs), ", ".join(size.changes)
        rows.append((f"wsss run {study.name}{variant}", _trials(size), needs, changes))
    return f"{study.name}: {study.title}\n{study.file}\n\n{study.header}\n\n{aligned(rows)}"


def _trials(size: "StudySize") -> str:
    """Return the number of trials and its factors.

    A search comes before them; chains are run over them.
    """
    values = f" x {size.values} values" if size.values > 1 else ""
    searched = f", after a search of {size.searched}" if size.searched else ""
    chains = f", each with {size.chains} chains" if size.chains else ""
    factors = f"{size.configurations} x {size.seeds} seed{'s' if size.seeds > 1 else ''}{values}"
    return f"{size.trials} = {factors}{searched}{chains}"


def _record(study: "ShippedStudy") -> dict[str, Any]:
    def sized(size: "StudySize") -> dict[str, Any]:
        return {"trials": size.trials, **asdict(size)}

    return {
        "name": study.name,
        "title": study.title,
        "file": study.file,
        "header": study.header,
        "cost": study.cost,
        **{key: value for key, value in sized(study.size).items() if key not in _OF_VARIANTS},
        "variants": [sized(variant) for variant in study.variants],
    }


_OF_VARIANTS = ("variant", "changes")

STUDIES = Command(
    "studies",
    "list the studies that come with the package, or describe one of them",
    "wsss studies thesis/lambda",
    _studies,
    (
        option("study", nargs="?", metavar="NAME", help="print its file's header and its variants"),
        JSON_OPTION,
    ),
)
