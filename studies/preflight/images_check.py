"""Every image of a study is checked and decoded before anything is trained.

The findings are those of `wsss data check`. The ledger keeps them for the page, and tells the next
run that nothing has to be read again.
"""

import logging
import time
from typing import Any

from reports.ledger import read_arrow, write_part
from reports.storage import Location
from studies.planning import Plan, StudyImages
from studies.store import ArtifactStore
from wsss_core.data.folder import DataFinding, DataFindings, DataSummary, FindingKind, Severity
from wsss_core.data.folder.label_findings import missing_classes
from wsss_core.data.image_set import SPLITS

logger = logging.getLogger(__name__)


def check_study_images(plan: Plan, store: ArtifactStore, results: Location) -> None:
    """Decode what the store lacks of each data set, and keep what was found in the ledger.

    Args:
        plan: the study's plan.
        store: where decoded images are kept.
        results: the folder of the ledger.

    Raises:
        InputError: a file cannot be used, or no image of a split holds a class. The plan says
            which classes a fold lacks: that is no reason to leave the other folds out.

    """
    rows = _kept_rows(plan, results)
    known = {row["data"] for row in rows}
    told: set[str] = set()  # the folds of a data set share its findings
    for images in plan.image_sets:
        made = _decode(images, store)
        for split in SPLITS if images.fold is None else ():
            decoded = images.splits.load(store, split)
            found = missing_classes(decoded.labels, decoded.classes, split)
            DataFindings.of(found).raise_refused()
        if images.digest in told or (images.digest in known and not made):
            continue
        summary = images.summary()
        if summary is None:
            continue
        summary.findings.raise_refused(images.listed_by)
        _log(summary, images.listed_by)
        rows = [row for row in rows if row["data"] != images.digest]
        rows += _rows(plan.study.study, images.digest, summary)
        told.add(images.digest)
    if told:
        write_part(results, "findings", plan.study.file_name, rows)


def kept_findings(plan: Plan, results: Location) -> DataFindings:
    """Return the findings about a plan's images that its ledger keeps."""
    return DataFindings.of(
        DataFinding(
            FindingKind(row["kind"]),
            Severity(row["severity"]),
            row["text"] + (f": {row['files']}" if row["files"] else ""),
            row["count"],
            row["split"],
        )
        for row in _kept_rows(plan, results)
    )


def _kept_rows(plan: Plan, results: Location) -> list[dict[str, Any]]:
    table = read_arrow(results, "findings", keys=[plan.study.file_name], skip_corrupt=True)
    digests = {images.digest for images in plan.image_sets}
    return [row for row in table.to_pylist() if row["data"] in digests]


def _decode(images: StudyImages, store: ArtifactStore) -> list[str]:
    began = time.perf_counter()
    made = images.decode(store)
    if made:
        took = time.perf_counter() - began
        fold = "" if images.fold is None else f" of fold {images.fold.number}"
        logger.info("images: %s%s checked and decoded in %.1f s", ", ".join(made), fold, took)
    return made


def _log(summary: DataSummary, listed_by: str) -> None:
    if summary.findings:
        tally = summary.findings.tally()
        logger.info("images: %s; `%s` and the report list them", tally, listed_by)


def _rows(study: str, digest: str, summary: DataSummary) -> list[dict[str, Any]]:
    """Return the rows of the ledger; one says that there was a check, even if it found nothing."""
    images = sum(split.images for split in summary.splits.values())
    checked = DataFinding(FindingKind.LAYOUT, Severity.NOTE, "images were checked", images)
    return [
        {
            "study": study,
            "data": digest,
            "severity": str(found.severity),
            "kind": str(found.kind),
            "split": found.split,
            "count": found.count,
            "text": found.text,
            "files": found.concerned() or None,
        }
        for found in (*summary.findings, checked)
    ]
