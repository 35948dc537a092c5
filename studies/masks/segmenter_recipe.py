"""A trained segmenter as what makes masks, in the place of a classifier's CAMs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from reports.ledger.parts import read_arrow
from reports.pairing import pair_of
from reports.results.segments import SegmentRecord, SegmentRun, read_segments
from reports.storage import Location
from studies.formatting import expected_names
from studies.spec.segmentation.segment import Prediction, without_defaults
from studies.stages.segmentation import SEGMENTER
from studies.store import ArtifactStore
from wsss_core.data.file_hashes import file_hashes
from wsss_core.data.image_set import IGNORED
from wsss_core.errors import InputError
from wsss_core.plugins import is_plugin, plugin_version
from wsss_core.segmentation import PredictionSettings, Segmenter, load_segmenter
from wsss_core.segmentation.settings import NetworkPrecision


@dataclass(frozen=True)
class SegmenterSelection:
    """The user's selection of a study's segmenter.

    Attributes:
        entry: its name in the section `segment` of the study.
        study: the study's name; None: the only one with such an entry.
        seed: its seed; None: the first that ended well, as only test images would choose.
        fold: its fold, in a study with folds; it has to be given there.

    """

    entry: str
    study: str | None = None
    seed: int | None = None
    fold: int | None = None


@dataclass(frozen=True)
class SegmenterRecipe:
    """Everything that decides a segmenter's masks; it travels to workers whole.

    Attributes:
        file: the file of `save_segmenter`, which every worker has to see unless `store` has it.
        digest: of the file's bytes.
        classes: the classes, in the order of their numbers in a mask.
        image_size: side of the images in pixels that the segmenter sees.
        model: its architecture, or a plug-in.
        encoder: its encoder; "" if it brings its own.
        origin: where the segmenter comes from, for the record beside the masks.
        prediction: the arguments of `PredictionSettings`.
        store: the artifact store that holds it; None: `file` is a file of its own.
        key: of the artifact there.
        framing: how it saw images in its study; None: squashed.

    """

    file: str
    digest: str
    classes: list[str]
    image_size: int
    model: str
    encoder: str
    origin: dict[str, Any] = field(default_factory=dict)
    prediction: dict[str, Any] = field(default_factory=dict)
    store: str | None = None
    key: str = ""
    framing: dict[str, Any] | None = None

    @property
    def plugins(self) -> dict[str, str]:
        """The plug-in of the segmenter: name -> version."""
        if not is_plugin(self.model):
            return {}
        return {self.model: str(plugin_version("segmenter", self.model))}

    @property
    def prediction_settings(self) -> PredictionSettings:
        """How masks are predicted."""
        return Prediction.model_validate(self.prediction).settings()

    def at_precision(self, precision: NetworkPrecision) -> "SegmenterRecipe":
        """Return a recipe of the same segmenter that predicts with another precision."""
        settings = replace(self.prediction_settings, precision=precision)
        return replace(self, prediction=without_defaults(settings, PredictionSettings))

    def load(self, device: str) -> Segmenter:
        """Return the segmenter on a device.

        Raises:
            InputError: see `load_segmenter`; also a file that was replaced since.

        """
        file = Path(self.file)
        if self.store is not None:
            file = ArtifactStore(self.store).fetch("segment", self.key) / SEGMENTER
        if file_hashes([file])[0] != self.digest:
            raise InputError(f"segmenter file {file}: was replaced meanwhile; run again")
        return load_segmenter(file, device=device)

    def as_record(self) -> dict[str, Any]:
        """Return what a reader of the masks has to know, and what a run that resumes must share."""
        return {
            "segmenter": self.digest,
            **self.origin,
            "model": self.model,
            "encoder": self.encoder,
            "image_size": self.image_size,
            "classes": self.classes,
            "prediction": self.prediction,
        }


def recipe_of_file(file: Path) -> tuple[SegmenterRecipe, list[str]]:
    """Return the recipe of a file of `save_segmenter`, and lines that say what it is.

    The segmenter is built once, so that whatever is wrong with it is said before any work.

    Raises:
        InputError: see `load_segmenter`; also more classes than a mask has numbers.

    """
    if not file.is_file():
        raise InputError(f"segmenter file {file}: no such file, expected one of save_segmenter")
    segmenter = load_segmenter(file)
    return _recipe(segmenter, file, list(segmenter.names))


def recipe_of_entry(
    results: Location, store: ArtifactStore, selection: SegmenterSelection
) -> tuple[SegmenterRecipe, list[str]]:
    """Return the recipe of a segmenter that a study trained, and lines that say what it is.

    Raises:
        InputError: no such entry, seed or fold (the message names what there is), none that ended
            well, or a store that lacks the segmenter.

    """
    study, record = _entry(results, selection)
    run, why = _run(record, selection)
    if not store.has("segment", run.segment_key):
        raise InputError(
            f"{store.where}: does not hold the segmenter {run.segment_key}; expected, as --store, "
            "the store that the study was run with"
        )
    file = store.fetch("segment", run.segment_key) / SEGMENTER
    settings = json.loads(run.row["settings"])
    origin = {
        "study": study,
        "entry": record.entry,
        "seed": int(run.row["seed"]),
        **({} if run.row["fold"] is None else {"fold": int(run.row["fold"])}),
        "segment_key": run.segment_key,
    }
    recipe, lines = _recipe(
        load_segmenter(file),
        file,
        list(settings["classes"]),
        framing=settings.get("framing"),
        origin=origin,
        prediction=json.loads(record.prediction),
        store=store.where,
        key=run.segment_key,
    )
    return recipe, [f"{study}, {record.entry}, seed {run.pair} ({why})", *lines]


def _entry(results: Location, selection: SegmenterSelection) -> tuple[str, SegmentRecord]:
    planned = read_arrow(results, "segments").to_pylist()
    places = dict.fromkeys((row["study"], row["dial_value"]) for row in planned)
    studies = list(dict.fromkeys(study for study, _ in places))
    if selection.study is not None and selection.study not in studies:
        raise InputError(f"--study {selection.study!r}: {expected_names(studies, selection.study)}")
    found: list[tuple[str, SegmentRecord]] = []
    names: dict[str, None] = {}
    for study, value in places:
        if selection.study not in (None, study):
            continue
        records = read_segments(results, study, value)
        names |= dict.fromkeys(one.entry for one in records)
        found += [(study, one) for one in records if one.entry == selection.entry]
    if not found:
        raise InputError(
            f"--segmenter {selection.entry!r}: no segmenter of {results}; "
            f"{expected_names(names, selection.entry)}"
        )
    if len(found) > 1:
        raise InputError(
            f"--segmenter {selection.entry!r}: {len(found)} segmenters are called so; --study says "
            "whose, and a study with a sweep has one for each value, whose files --segmenter takes"
        )
    return found[0]


def _run(record: SegmentRecord, selection: SegmenterSelection) -> tuple[SegmentRun, str]:
    """Return the run that was selected, and why it was."""
    healthy = [run for run in record.runs if run.status == "ok"]
    if not healthy:
        ended = ", ".join(f"{count} {state}" for state, count in record.states.items())
        raise InputError(f"--segmenter {record.entry!r}: none ended well ({ended})")
    folds = sorted({run.row["fold"] for run in healthy} - {None})
    if folds and selection.fold not in folds:
        raise InputError(
            f"--fold: {record.entry!r} has a segmenter a fold; {expected_names(folds)}"
        )
    if not folds and selection.fold is not None:
        raise InputError(f"--fold {selection.fold}: the study of {record.entry!r} has no folds")
    of_fold = [run for run in healthy if run.row["fold"] == selection.fold]
    if selection.seed is None:
        if len(of_fold) == 1:
            return of_fold[0], "the only one that ended well"
        return of_fold[0], f"the first of {len(of_fold)}, as only test images would choose"
    pair = pair_of(selection.seed, selection.fold)
    for run in of_fold:
        if run.pair == pair:
            return run, "as asked"
    seeds = [run.row["seed"] for run in of_fold]
    raise InputError(f"--seed {selection.seed}: {expected_names(seeds)}")


def _recipe(
    segmenter: Segmenter, file: Path, classes: Sequence[str], **more: Any
) -> tuple[SegmenterRecipe, list[str]]:
    settings = segmenter.settings
    assert settings is not None
    if segmenter.classes >= IGNORED:
        raise InputError(
            f"segmenter file {file}: {segmenter.classes} classes, expected at most {IGNORED - 1} "
            "in an 8-bit mask"
        )
    recipe = SegmenterRecipe(
        file=str(file.resolve()),
        digest=file_hashes([file])[0],
        classes=list(classes),
        image_size=segmenter.image_size,
        model=settings.model,
        encoder=settings.encoder,
        **more,
    )
    over = f" over {settings.encoder}" if settings.encoder else ""
    return recipe, [
        f"segmenter {settings.model}{over}, images of {segmenter.image_size} px",
        f"classes {', '.join(recipe.classes)}",
    ]
