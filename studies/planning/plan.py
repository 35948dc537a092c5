"""The work that a study asks for: training runs with the trials that score them.

A student that learns from a teacher waits for the teacher's training run. That is made once for
each seed and is the run of the teacher's own configuration, where the study has one.
"""

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from studies.planning.chains import CamScoring, Chain
from studies.planning.folds import fold_record
from studies.planning.images import StudyImages, windows_in_words
from studies.planning.job import TrainingJob, Trial
from studies.planning.joining import JoinedImages, join_line
from studies.planning.plan_display import plan_as_html, plan_as_text
from studies.planning.segmentation.segments import Job, SegmentJob
from studies.planning.segmentation.training_masks import TrainingMasks
from studies.spec.configuration import Configuration
from studies.spec.configuration_names import teachers_label
from studies.spec.fused_rows import is_alone, named_alone
from studies.spec.refinement import PublishedSeeds
from studies.spec.segmentation.segment import JOINED
from studies.spec.settings import TrainingChange
from studies.spec.study import Study
from studies.store import ArtifactStore, canonical
from wsss_core.backbones import is_vit
from wsss_core.data.folds import Fold

if TYPE_CHECKING:
    from reports.decisions import Question


@dataclass(repr=False)
class Plan:
    """All training runs of a study, teachers before those they teach, and the images they need.

    Attributes:
        study: the study.
        jobs: the training runs by key.
        cam: how plain CAMs are made and scored.
        image_sets: the data sets that its jobs name, one for each value of a sweep of the data and
            one for each fold.
        chains: the study's refinement chains, those that lack something included.
        segments: the segmentation runs.

    """

    study: Study
    jobs: dict[str, TrainingJob]
    cam: CamScoring
    image_sets: list[StudyImages] = field(default_factory=list)
    chains: tuple[Chain, ...] = ()
    segments: tuple[SegmentJob, ...] = ()

    def __repr__(self) -> str:
        return plan_as_text(self)

    def _repr_html_(self) -> str:
        return plan_as_html(self)

    @property
    def runnable_chains(self) -> list[Chain]:
        """The chains that lack nothing."""
        return [chain for chain in self.chains if chain.lacks is None]

    @property
    def trials(self) -> list[Trial]:
        """Every trial, in the order of the study's rows, seeds and folds."""
        trials = [trial for job in self.jobs.values() for trial in job.trials]
        sweep = self.study.sweep
        seeds = {seed: place for place, seed in enumerate(self.study.planned_seeds)}
        values = {value: place for place, value in enumerate(sweep.values if sweep else [])}

        def place(trial: Trial) -> tuple[int, int, int, int]:
            value = values[trial.sweep_value or 0.0] if sweep else 0
            return value, trial.position, seeds[trial.seed], trial.fold or 0

        return sorted(trials, key=place)

    @property
    def windows(self) -> tuple[str, ...]:
        """How many windows its images give and what they cost, in words; none if squashed."""
        first = self.image_sets[0]
        return tuple(windows_in_words(first.source, self.study.data))

    @property
    def _joined_sets(self) -> list[JoinedImages]:
        return [one for one in self.image_sets if isinstance(one, JoinedImages) and one.places]

    @property
    def joined(self) -> tuple[str, ...]:
        """What joins the training of some rows, or that such rows are left out, as lines."""
        study = self.study
        rows = [name for name, one in study.named_configurations() if one.join]
        lines = [join_line(images, rows) for images in self._joined_sets]
        if study.left_out:
            lines.append(f"join: null leaves out {', '.join(study.left_out)}")
        return tuple(lines)

    @property
    def folds(self) -> list[Fold]:
        """The folds, in order; none in a study without folds."""
        return [images.fold for images in self.image_sets if images.fold is not None]

    def score_keys(self) -> list[str]:
        """Return the keys of the scores of all trials and segmenters, chains included."""
        keys = [key for trial in self.trials for key in trial.score_keys]
        return [*keys, *(key for job in self.segments for key in job.score_keys())]

    def images_of(self, job: Job) -> StudyImages:
        """Return the data set of a job."""
        return next(images for images in self.image_sets if images.splits == job.images)

    def decode(self, job: Job, store: ArtifactStore) -> None:
        """Bring the images of a job, and the true masks that it asks for, to the store.

        Raises:
            InputError: an image or a mask that cannot be used.

        """
        images = self.images_of(job)
        images.decode(store)
        if not isinstance(job, SegmentJob) or job.masks is None:
            return
        if not store.has("images", job.masks.key):  # which is asked before masks are opened
            joined = job.settings["labels"]["masks"] == JOINED
            TrainingMasks(images, joined_alone=joined).keep(store)

    @property
    def plugins(self) -> dict[str, str]:
        """The plug-ins that its trials import, with the versions they declare here."""
        found: dict[str, str] = {}
        for settings in (job.settings for job in self.jobs.values()):
            for role in ("student", "teacher"):
                if "version" in (backbone := settings.get(role, {})):
                    found[backbone["model"]] = backbone["version"]
            found |= settings.get("plugins", {})
        for segment in self.segments:
            found |= segment.plugins
        for chain in self.runnable_chains:
            found |= chain.plugins
        return found

    def asked_for(self, asks_for: Callable[[Trial], bool]) -> "Plan":
        """Return the plan of some of its trials alone, with the teachers and members they need.

        Args:
            asks_for: whether a trial is wanted.

        """
        wanted = {
            job.key: replace(job, trials=tuple(filter(asks_for, job.trials)))
            for job in self.jobs.values()
        }
        needed: set[str] = set()
        for key, job in reversed(wanted.items()):  # what a job waits for comes before it
            if job.trials or key in needed:
                needed |= {key, *job.needs}
        return replace(self, jobs={key: job for key, job in wanted.items() if key in needed})

    def pending(
        self, store: ArtifactStore, segments: Sequence[SegmentJob] | None = None
    ) -> list[TrainingJob]:
        """Return the training runs that still have to run.

        These are trials without scores, the teachers and members they need, networks whose maps
        segmenters need, and trials whose network was found corrupt: its scores are known, but masks
        are made with it.

        Args:
            store: holds the finished stages.
            segments: the `pending_segments`, where they are known already.

        """
        if segments is None:
            segments = self.pending_segments(store)
        has = store.seen()
        aside = store.corrupt("train")
        awaited = {job.parent for job in segments}
        jobs = []
        for job in reversed(self.jobs.values()):
            trained = has("train", job.key)
            scored = all(has("scores", key) for key in job.score_keys())
            missed = job.key in awaited or (job.trials and job.key in aside)
            if scored and (trained or not missed):
                continue
            jobs.append(job)
            if not trained or job.fuses_maps:
                awaited.update(job.needs)
        return jobs[::-1]

    def pending_segments(self, store: ArtifactStore) -> list[SegmentJob]:
        """Return the segmentation runs that still have to run."""
        if not self.segments:
            return []
        has, aside = store.seen(), store.corrupt("segment")
        return [
            job
            for job in self.segments
            if job.unscored(has) or (job.key in aside and not has("segment", job.key))
        ]

    def pending_jobs(self, store: ArtifactStore) -> list[Job]:
        """Return all runs that still have to run: trainings, then segmenters."""
        segments = self.pending_segments(store)
        return [*self.pending(store, segments), *segments]

    @property
    def all_jobs(self) -> Mapping[str, Job]:
        """Every run by its key, trainings first; it follows `jobs`, which may grow in a run."""
        segments: dict[str, Job] = {job.key: job for job in self.segments}
        return ChainMap(segments, cast(dict[str, Job], self.jobs))

    def ledger_rows(self) -> list[dict[str, Any]]:
        """Return the plan as the report reads it: every cell to expect."""
        study = self.study
        owner = {trial.key: job for job in self.jobs.values() for trial in job.trials}
        alone, plain = named_alone(study.named_configurations()), TrainingChange()
        fusions = {
            name: _fusion(study, spec)
            for name, spec in study.named_configurations()
            if spec.fuse is not None
        }
        about = {fold.number: fold_record(fold, study.folds) for fold in self.folds}
        question = question_of(study)
        decide = question and question.as_json()
        own_rules = canonical(study.thresholds.rules)
        rows = []
        joined = max((len(one.places) for one in self._joined_sets), default=None)
        for trial in self.trials:
            spec = trial.spec
            fusion = fusions.get(trial.configuration)
            rows.append(
                {
                    "study": study.study,
                    "study_title": study.title,
                    "position": trial.position,
                    "configuration": trial.configuration,
                    "seed": trial.seed,
                    "trial_key": trial.key,
                    "paradigm": spec.paradigm,
                    "metric": spec.metric,
                    "level": spec.transfer_level,
                    "representation": spec.representation,
                    "weight": spec.transfer_weight,
                    "student": fusion["networks"] if fusion else study.label(spec.student),
                    "teacher": teachers_label(spec, study.label) if spec.teacher else None,
                    "baseline": None
                    if is_alone(spec)
                    else alone(spec.student, spec.training, spec.join),
                    "reference": alone(spec.teacher or "", plain, spec.join),
                    "fixed_threshold": study.thresholds.fixed,
                    "objective": study.thresholds.objective,
                    "own_rules": own_rules,
                    "settings": canonical(_ledger_settings(spec, fusion)),
                    "family": "vit" if is_vit(study.backbones[spec.student].model) else "cnn",
                    "dial": study.sweep.name if study.sweep else None,
                    "dial_value": trial.sweep_value,
                    "published": _share(spec.published),
                    "published_from": study.published_from if spec.published is not None else None,
                    "artifacts": canonical(owner[trial.key].artifacts),
                    "search_trials": study.search.trials if study.search else None,
                    "fold": trial.fold,
                    "reasons_key": trial.reasons,
                    "fold_about": about.get(trial.fold or 0),
                    "decide": decide,
                    "joined": joined if spec.join else None,
                }
            )
        return rows

    def chain_rows(self) -> list[dict[str, Any]]:
        """Return the chains of each trial as the report reads them, those not run included."""
        chains = {chain.name: chain for chain in self.chains}
        alike = []
        for position, (name, entry) in enumerate(self.study.chains.items()):
            chain = chains.get(name)
            published = entry.published or PublishedSeeds()
            alike.append(
                {
                    "study": self.study.study,
                    "refinement": name,
                    "position": position,
                    "lacks": chain.lacks if chain else None,
                    "chain": chain.as_record() if chain else None,
                    "published_worse": _share(published.worse),
                    "published_best": _share(published.best),
                    "published_of": published.of,
                    "published_from": self.study.published_from if entry.published else None,
                }
            )
        return [
            {
                **row,
                "trial_key": trial.key,
                "scores_key": trial.chains.get(str(row["refinement"])),
            }
            for trial in self.trials
            for row in alike
            if row["refinement"] not in chains
            or chains[row["refinement"]].refines(trial.configuration)
        ]


def _fusion(study: Study, spec: Configuration) -> dict[str, Any]:
    """Return what a report knows of a fused row: its settings, its members and their networks."""
    assert spec.fuse is not None
    rows = {name for name, _ in study.named_configurations()}
    members = study.members(spec)
    labels = [study.label(one.student) for _, one in members]
    names = [
        name if name in rows else f"{label} alone"
        for (name, _), label in zip(members, labels, strict=True)
    ]
    times = f"{spec.fuse.seeds} × " if spec.fuse.seeds > 1 else ""
    return {
        **spec.fuse.model_dump(mode="json"),
        "of": names,
        "labels": labels,
        "networks": times + " + ".join(labels),
    }


def _ledger_settings(spec: Configuration, fusion: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what the ledger holds of a row's settings; newer ones where they are used alone."""
    later = ("gamma", "teachers", "targets")
    left_out = {key for key in later if getattr(spec, key) is None} | set(_OF_OTHERS)
    decouple = spec.decouple and spec.decouple.model_dump(mode="json", exclude_none=True)
    used = {"join": spec.join, "decouple": decouple, "fuse": fusion, "recipe": spec.recipe}
    own = spec.model_dump(mode="json", by_alias=True, exclude=left_out)
    return {**own, **{name: value for name, value in used.items() if value}}


_OF_OTHERS = ("resources", "fuse", "join", "decouple", "recipe")
"""Keys of a configuration that its settings in the ledger hold where they are used alone."""


def _share(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


def question_of(study: Study) -> "Question | None":
    """Return what a study is to decide; None without `decide`."""
    decide = study.decide
    if decide is None:
        return None
    # Loads SciPy, which a study that decides nothing does not need.
    from reports.decisions import Question, RowPair

    rows = [name for name, _ in study.named_configurations()]
    below = decide.collapsed_below
    asked = partial(
        Question,
        figure=decide.figure or study.thresholds.objective,
        smallest=decide.smallest / 100,
        collapsed_below=None if below is None else below / 100,
    )
    alike = ("best", "error", "first_seeds", "step", "most_hours", "hours", "split", "rule",
             "collapses", "test", "precision")  # fmt: skip
    return asked(
        comparisons=tuple(RowPair(*pair) for pair in decide.comparisons(rows)),
        seeds=tuple(study.planned_seeds),
        **{name: getattr(decide, name) for name in alike},
    )
