"""The tables of the ledger: their columns, types and vocabularies.

| table | one part per | one row per |
|---|---|---|
| plan | study | configuration x seed (rewritten whole at each run) |
| trials | trial | trial: its status, cost and provenance |
| scores | trial | network x split x image x class: the score histogram |
| panels | trial | network x image x class: pictures to look at |
| history | trial | epoch |
| reasons | trial | network x class x measure: what a network needs of an image |
| search | search trial | seed it was scored under |
| refinements | study | refinement chain x trial (rewritten whole at each run) |
| refined | trial x chain | trial x chain: its status and cost |
| findings | study | finding about a folder of images (rewritten when the images are checked) |
| cancelled | cancelled row | a mark: nothing of the row is trained while it is there |
| segments | study | entry of `segment` x seed (rewritten whole at each run) |
| segmented | entry x seed | entry x seed: its status, cost and provenance |
| segment_scores | entry x seed | test image x true class: the counts that figures are made of |

Where `cam.gating` removes a class from an image, `foreground` and `background` are of the maps that
are left. Of the test split the ledger then also holds the histograms of the ungated maps, for the
oracles; of the tune split those gated by the image's own labels, for masks that are gated so.

`flags` of `scores` are words that tell images apart, separated by ";". "context" and "no context"
are among them where it is known whether the image has the class's context.

Row n of the counts `pixels` of `segment_scores` belongs to the true class `class_number`, 0 the
background; entry p counts its pixels that are predicted as class p. Boundaries and objects are
those of `wsss_core.evaluate`. `masks_spent` counts true masks that anything has looked at.

A trial's scores and panels under a refinement chain are parts of their own; the column `scores_key`
of `refinements` names them. The columns `dial` and `dial_value` describe the study's sweep. `fold`
is the number of a trial's fold, from 1, empty in a study without folds; `fold_about` describes the
fold in JSON. `joined` is how many images with masks join a trial's training by their image-level
labels. `decide` says in JSON which comparisons a study decides (`reports.decisions`); its
plan holds the trials that were asked for so far. `figures` holds what was derived of a trial's
scores when it ended, and `figures_about` says what it is (`reports.results.stored`); both are a
copy, and are derived again from the scores wherever they are empty, older or of other scores.
"""

import pyarrow as pa

from wsss_core.evaluate import SCORE_LEVELS
from wsss_core.evaluate.reasons import ABLATIONS

SCHEMA_VERSION = 6
"""The version of the parts that are written; they hold digests (`reports.ledger.digest`)."""

READABLE = (5, SCHEMA_VERSION)
"""The versions that are read. Parts of version 5 lack some columns and hold no digest."""

VERSION_KEY = b"schema_version"
"""The key of a part's metadata that holds its schema version."""

DERIVED_COLUMNS = ("figures", "figures_about")
"""The columns of a sealing row that follow from the trial's scores."""

SEARCH_STATES = ("complete", "pruned", "collapsed", "failed")
"""How a search trial can end, from the best to the worst."""

FINDING_SEVERITIES = ("warning", "note")
"""How bad a finding about images can be that a study was run with."""


REASON_MEASURES = (
    "clean",
    "noisy_object",
    "noisy_context",
    *ABLATIONS,
    "deletion_area",
    "insertion_area",
    "max_box_accuracy",
)
"""What is measured of a network's reasons; noise at each `sigma`."""


def _schema(**columns: pa.DataType | tuple[pa.DataType, str]) -> pa.Schema:
    """Make a schema; a column given as `(type, "null")` may be empty, others must be filled."""
    fields = [
        pa.field(name, kind[0], nullable=True)
        if isinstance(kind, tuple)
        else pa.field(name, kind, nullable=False)
        for name, kind in columns.items()
    ]
    return pa.schema(fields, metadata={VERSION_KEY: str(SCHEMA_VERSION).encode()})


_TEXT = pa.string()
_REAL = pa.float64()
_HISTOGRAM = pa.list_(pa.uint32(), SCORE_LEVELS)

SCHEMAS: dict[str, pa.Schema] = {
    "plan": _schema(
        study=_TEXT,
        study_title=_TEXT,
        position=pa.int32(),
        configuration=_TEXT,
        seed=pa.int64(),
        trial_key=_TEXT,
        paradigm=_TEXT,
        metric=(_TEXT, "null"),
        level=(_TEXT, "null"),
        representation=(_TEXT, "null"),
        weight=(_REAL, "null"),
        student=_TEXT,
        teacher=(_TEXT, "null"),
        baseline=(_TEXT, "null"),
        reference=(_TEXT, "null"),
        fixed_threshold=_REAL,
        objective=_TEXT,
        own_rules=(_TEXT, "null"),
        settings=_TEXT,
        family=_TEXT,
        dial=(_TEXT, "null"),
        dial_value=(_REAL, "null"),
        published=(_REAL, "null"),
        published_from=(_TEXT, "null"),
        artifacts=(_TEXT, "null"),
        search_trials=(pa.int32(), "null"),
        fold=(pa.int32(), "null"),
        fold_about=(_TEXT, "null"),
        reasons_key=(_TEXT, "null"),
        decide=(_TEXT, "null"),
        joined=(pa.int64(), "null"),
    ),
    "trials": _schema(
        trial_key=_TEXT,
        configuration=_TEXT,
        seed=pa.int64(),
        status=_TEXT,
        error=(_TEXT, "null"),
        traceback=(_TEXT, "null"),
        settings=_TEXT,
        train_fingerprint=(_TEXT, "null"),
        evaluation_fingerprint=(_TEXT, "null"),
        code_revision=(_TEXT, "null"),
        code_digest=(_TEXT, "null"),
        plugin_digests=(_TEXT, "null"),
        package_version=_TEXT,
        packages=_TEXT,
        processor=(_TEXT, "null"),
        threads=(pa.int32(), "null"),
        device=(_TEXT, "null"),
        host=(_TEXT, "null"),
        started_at=pa.timestamp("us", tz="UTC"),
        seconds_training=(_REAL, "null"),
        seconds_before=(_REAL, "null"),
        seconds_scoring=(_REAL, "null"),
        images_per_second=(_REAL, "null"),
        peak_memory_bytes=(pa.int64(), "null"),
        epochs=(pa.int32(), "null"),
        parameters=(pa.int64(), "null"),
        micro_batch=(pa.int32(), "null"),
        random_parts=(_TEXT, "null"),
        cpus=(pa.int32(), "null"),
        gpus=(_REAL, "null"),
        fold=(pa.int32(), "null"),
        figures=(pa.binary(), "null"),
        figures_about=(_TEXT, "null"),
    ),
    "scores": _schema(
        trial_key=_TEXT,
        network=_TEXT,
        split=_TEXT,
        image=_TEXT,
        group=_TEXT,
        class_name=_TEXT,
        labelled=pa.bool_(),
        logit=pa.float32(),
        foreground=_HISTOGRAM,
        background=_HISTOGRAM,
        context=(_HISTOGRAM, "null"),
        ring=(_HISTOGRAM, "null"),
        ungated_foreground=(_HISTOGRAM, "null"),
        ungated_background=(_HISTOGRAM, "null"),
        label_gated_foreground=(_HISTOGRAM, "null"),
        label_gated_background=(_HISTOGRAM, "null"),
        peak=(_TEXT, "null"),
        logit_without_object=(pa.float32(), "null"),
        logit_without_context=(pa.float32(), "null"),
        refinement=(_TEXT, "null"),
        source=(_TEXT, "null"),
        flags=(_TEXT, "null"),
    ),
    "panels": _schema(
        trial_key=_TEXT,
        network=_TEXT,
        split=_TEXT,
        image=_TEXT,
        class_name=_TEXT,
        image_png=pa.binary(),
        mask_png=pa.binary(),
        cam_png=pa.binary(),
        refinement=(_TEXT, "null"),
    ),
    "history": _schema(
        trial_key=_TEXT,
        epoch=pa.int32(),
        loss=_REAL,
        classification_loss=_REAL,
        transfer_loss=(_REAL, "null"),
        seconds=_REAL,
    ),
    "reasons": _schema(
        trial_key=_TEXT,
        network=_TEXT,
        split=_TEXT,
        class_name=_TEXT,
        measure=_TEXT,
        sigma=(_REAL, "null"),
        images=pa.int32(),
        value=_REAL,
    ),
    "search": _schema(
        study=_TEXT,
        number=pa.int32(),
        configuration=_TEXT,
        parameters=_TEXT,
        seed=pa.int64(),
        objective=(_REAL, "null"),
        state=_TEXT,
        optuna=(_TEXT, "null"),
    ),
    "refinements": _schema(
        study=_TEXT,
        trial_key=_TEXT,
        refinement=_TEXT,
        position=pa.int32(),
        scores_key=(_TEXT, "null"),
        lacks=(_TEXT, "null"),
        chain=(_TEXT, "null"),
        published_worse=(_REAL, "null"),
        published_best=(_REAL, "null"),
        published_of=(_TEXT, "null"),
        published_from=(_TEXT, "null"),
    ),
    "refined": _schema(
        scores_key=_TEXT,
        trial_key=_TEXT,
        refinement=_TEXT,
        status=_TEXT,
        error=(_TEXT, "null"),
        traceback=(_TEXT, "null"),
        seconds=(_REAL, "null"),
        code_revision=(_TEXT, "null"),
        code_digest=(_TEXT, "null"),
        plugin_digests=(_TEXT, "null"),
        packages=(_TEXT, "null"),
        processor=(_TEXT, "null"),
        threads=(pa.int32(), "null"),
        host=(_TEXT, "null"),
        ended_at=pa.timestamp("us", tz="UTC"),
        figures=(pa.binary(), "null"),
        figures_about=(_TEXT, "null"),
    ),
    "cancelled": _schema(
        study=_TEXT,
        configuration=_TEXT,
        cancelled_at=pa.timestamp("us", tz="UTC"),
        reason=(_TEXT, "null"),
    ),
    "findings": _schema(
        study=_TEXT,
        data=_TEXT,
        severity=_TEXT,
        kind=_TEXT,
        split=(_TEXT, "null"),
        count=pa.int64(),
        text=_TEXT,
        files=(_TEXT, "null"),
    ),
    "segments": _schema(
        study=_TEXT,
        entry=_TEXT,
        position=pa.int32(),
        seed=pa.int64(),
        fold=(pa.int32(), "null"),
        dial_value=(_REAL, "null"),
        segment_key=_TEXT,
        scores_key=_TEXT,
        model=_TEXT,
        steps=pa.int64(),
        overlap=_REAL,
        prediction=_TEXT,
        masks=(_TEXT, "null"),
        configuration=(_TEXT, "null"),
        refinement=(_TEXT, "null"),
        rule=(_TEXT, "null"),
        single_stage=(_TEXT, "null"),
        cam_scores_key=(_TEXT, "null"),
        settings=_TEXT,
        artifacts=_TEXT,
        published=(_REAL, "null"),
        published_from=(_TEXT, "null"),
    ),
    "segmented": _schema(
        scores_key=_TEXT,
        segment_key=_TEXT,
        entry=_TEXT,
        seed=pa.int64(),
        fold=(pa.int32(), "null"),
        status=_TEXT,
        error=(_TEXT, "null"),
        traceback=(_TEXT, "null"),
        settings=_TEXT,
        level=(pa.int32(), "null"),
        images=(pa.int64(), "null"),
        masks_trained=(pa.int64(), "null"),
        masks_spent=(pa.int64(), "null"),
        steps=(pa.int64(), "null"),
        loss=(_REAL, "null"),
        seconds_training=(_REAL, "null"),
        seconds_scoring=(_REAL, "null"),
        peak_memory_bytes=(pa.int64(), "null"),
        parameters=(pa.int64(), "null"),
        micro_batch=(pa.int32(), "null"),
        code_revision=(_TEXT, "null"),
        code_digest=(_TEXT, "null"),
        plugin_digests=(_TEXT, "null"),
        package_version=_TEXT,
        packages=_TEXT,
        processor=(_TEXT, "null"),
        threads=(pa.int32(), "null"),
        device=(_TEXT, "null"),
        host=(_TEXT, "null"),
        cpus=(pa.int32(), "null"),
        gpus=(_REAL, "null"),
        started_at=pa.timestamp("us", tz="UTC"),
    ),
    "segment_scores": _schema(
        scores_key=_TEXT,
        image=_TEXT,
        group=_TEXT,
        source=(_TEXT, "null"),
        class_name=_TEXT,
        class_number=pa.int32(),
        pixels=pa.list_(pa.int64()),
        boundary_hits=pa.int64(),
        boundary_union=pa.int64(),
        objects=(pa.int64(), "null"),
        found=(pa.int64(), "null"),
        predicted=(pa.int64(), "null"),
        false_objects=(pa.int64(), "null"),
    ),
}

_NETWORKS = ("student", "teacher", "fused")
_STATUSES = ("ok", "failed", "collapsed")

CHOICES: dict[tuple[str, str], tuple[str, ...]] = {
    ("plan", "paradigm"): ("single", "teacher-student", "co-training", "fused", "single-stage"),
    ("trials", "status"): _STATUSES,
    ("refined", "status"): _STATUSES,
    ("segmented", "status"): _STATUSES,
    ("search", "state"): SEARCH_STATES,
    ("findings", "severity"): FINDING_SEVERITIES,
    ("scores", "network"): _NETWORKS,
    ("scores", "split"): ("tune", "test"),
    ("panels", "network"): _NETWORKS,
    ("reasons", "network"): _NETWORKS,
    ("reasons", "measure"): REASON_MEASURES,
    ("panels", "split"): ("tune", "test"),
}
"""The values that a column of text may hold, by table and column."""
