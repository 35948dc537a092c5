"""What travels to a worker, whole: a training run with the trials that score it.

A trial is a configuration under a seed. Several trials of one study may score one training run,
and a student's training run names its teacher's.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from reports.pairing import Pair, pair_of
from studies.planning.images import ImageSplits
from studies.spec.configuration import SOUP, Configuration
from studies.spec.resources import Demand

if TYPE_CHECKING:
    from studies.planning.segmentation.segments import MapsOfLabels


@dataclass(frozen=True)
class Trial:
    """A configuration under a seed: one training run, scored.

    Attributes:
        key: names its scores in the store, and the trial in the ledger.
        configuration: the configuration's name in this study.
        position: the configuration's place in this study.
        seed: the seed that pairs it with other trials.
        spec: the configuration itself, as the study file gives it.
        sweep_value: the value of the study's sweep, if it has one.
        chains: the name of each chain that can run -> the key of the trial's scores under it.
        fold: the number of its fold; None in a study without folds.
        reasons: the key of its reasons; None in a study that does not ask for them.

    """

    key: str
    configuration: str
    position: int
    seed: int
    spec: Configuration
    sweep_value: float | None = None
    chains: dict[str, str] = field(default_factory=dict)
    fold: int | None = None
    reasons: str | None = None

    @property
    def pair(self) -> Pair:
        """The seed and, in a study with folds, the fold that pair it with other trials."""
        return pair_of(self.seed, self.fold)

    @property
    def plain_keys(self) -> tuple[str, ...]:
        """The keys of the scores of its plain CAM, and of its reasons."""
        return (self.key,) if self.reasons is None else (self.key, self.reasons)

    @property
    def score_keys(self) -> tuple[str, ...]:
        """The keys of all of its scores, under each chain too."""
        return (*self.plain_keys, *self.chains.values())

    def is_scored(self, has: Callable[[str, str], bool]) -> bool:
        """Return whether the store holds the scores of its plain CAM, and its reasons.

        Args:
            has: whether the store holds a stage's artifact.

        """
        return all(has("scores", key) for key in self.plain_keys)


def more_teacher_roles(count: int) -> tuple[str, ...]:
    """Return the roles of all teachers but the first, whose role is "teacher".

    >>> more_teacher_roles(3)
    ('teacher2', 'teacher3')
    """
    return tuple(f"teacher{number}" for number in range(2, count + 1))


@dataclass(frozen=True)
class TrainingJob:
    """One training run and the trials that score it.

    Attributes:
        key: names the trained networks in the store.
        settings: everything that decides the result, as JSON-able values.
        images: the images it is trained on and scored with.
        weights: role -> the weights file to start from ("none" or "pretrained" included).
        parent: the key of the teacher's training run, if there is one.
        trials: empty for a teacher that the study does not report.
        resources: what it asks of the cluster, the largest of what its trials ask; no part of any
            key.
        teacher_maps: how maps of its frozen teacher may be kept, see `studies.spec.frozen.Caches`.
        members: the training runs whose networks it fuses; a job that has them trains nothing.
        other_parents: the keys of the training runs of its other teachers, if it has several.
        maps: what pseudo masks are cut from that decouple objects from contexts; None without.
        guide: the maps of another training run that targets of its CAMs are cut from.

    """

    key: str
    settings: dict[str, Any]
    images: ImageSplits
    weights: dict[str, str] = field(default_factory=dict)
    parent: str | None = None
    trials: tuple[Trial, ...] = ()
    resources: Demand = field(default_factory=Demand)
    stage: ClassVar[str] = "train"
    teacher_maps: str = "float32"
    members: "tuple[TrainingJob, ...]" = ()
    other_parents: tuple[str, ...] = ()
    maps: "MapsOfLabels | None" = None
    guide: "MapsOfLabels | None" = None

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def name(self) -> str:
        """The name in progress lines."""
        if self.trials:
            trial = self.trials[0]
            at = "" if trial.sweep_value is None else f", at {trial.sweep_value:g}"
            return trial.configuration + at
        return f"teacher {self.settings['student']['model']}"

    @property
    def seed(self) -> int:
        """The seed of initialisation and of the order of the images."""
        return int(self.settings["seed"])

    @property
    def named(self) -> str:
        """The name in messages, with the seed and, in a study with folds, the fold."""
        return f"{self.name}, seed {self.pair}"

    @property
    def pair(self) -> Pair:
        """The seed and, in a study with folds, the fold that pair its trials with others."""
        return pair_of(self.seed, self.images.fold)

    @property
    def paradigm(self) -> str:
        """The paradigm's name."""
        return str(self.settings["paradigm"])

    @property
    def needs(self) -> tuple[str, ...]:
        """The keys of the runs that it waits for: of teachers, members, and its masks."""
        sources = [maps.training.key for maps in (self.maps, self.guide) if maps is not None]
        return (*self.parents.values(), *(member.key for member in self.members), *sources)

    @property
    def teacher_roles(self) -> tuple[str, ...]:
        """The roles of its teachers in its settings, or of its partner."""
        if "teacher" not in self.settings:
            return ()
        return ("teacher", *more_teacher_roles(1 + len(self.other_parents)))

    @property
    def parents(self) -> dict[str, str]:
        """The role of each teacher that was trained before -> the key of its training run."""
        if self.parent is None:
            return {}
        roles = ("teacher", *more_teacher_roles(1 + len(self.other_parents)))
        return dict(zip(roles, (self.parent, *self.other_parents), strict=True))

    @property
    def fuses_maps(self) -> bool:
        """Whether it has no network, but the maps of its members."""
        return bool(self.members) and self.settings["how"] != SOUP

    @property
    def sources(self) -> "tuple[TrainingJob, ...]":
        """The jobs whose networks make its maps: itself, or those whose maps it fuses."""
        return self.members if self.fuses_maps else (self,)

    @property
    def mapped_roles(self) -> tuple[str, ...]:
        """Its networks that make maps: those that it trains, or of a soup the averaged one."""
        if self.fuses_maps:
            return ()
        return ("student",) if self.members else self.trained_roles

    def images_taken(self, count: int, epochs: int) -> int:
        """Return how many images the steps of some epochs took.

        Args:
            count: of training images.
            epochs: that were begun; `iterations` may cut the last one short.

        """
        if self.members:
            return 0
        training = self.settings["training"]
        batch_size = int(training["batch_size"])
        batches = math.ceil(count / batch_size)
        full, rest = divmod(min(epochs * batches, training.get("iterations", math.inf)), batches)
        return int(full * count + rest * batch_size)

    @property
    def trained_roles(self) -> tuple[str, ...]:
        """The networks that it trains: both in co-training, none where it fuses others."""
        if self.members:
            return ()
        # A single-stage training with a teacher trains both too.
        both = self.paradigm in ("co-training", "single-stage") and "teacher" in self.settings
        return ("student", "teacher") if both else ("student",)

    @property
    def classes(self) -> list[str]:
        """The classes' names, in the order of their numbers in a mask."""
        return list(self.settings["classes"])

    @property
    def image_size(self) -> int:
        """The side of the network's input in pixels."""
        return int(self.settings["image_size"])

    @property
    def artifacts(self) -> dict[str, list[str]]:
        """Stage -> keys of what its trials build upon, for `wsss store gc`."""
        return {
            "train": [self.key, *self.needs],
            "images": list(self.images.keys.values()),
        }

    def unscored(self, has: Callable[[str, str], bool]) -> list[Trial]:
        """Return the trials without scores of the plain CAM, or without their reasons.

        Args:
            has: whether the store holds a stage's artifact.

        """
        return [trial for trial in self.trials if not trial.is_scored(has)]

    def unrefined(self, has: Callable[[str, str], bool]) -> list[str]:
        """Return the names of the chains that are left to do, each once for every trial.

        Args:
            has: whether the store holds a stage's artifact.

        """
        return [
            name
            for trial in self.trials
            for name, key in trial.chains.items()
            if not has("scores", key)
        ]

    @property
    def is_refined(self) -> bool:
        """Whether a chain refines the maps of any of its trials."""
        return any(trial.chains for trial in self.trials)

    def is_finished(self, has: Callable[[str, str], bool]) -> bool:
        """Return whether it is trained and all of its trials are scored, chains included.

        Args:
            has: whether the store holds a stage's artifact.

        """
        return has("train", self.key) and all(has("scores", key) for key in self.score_keys())

    def score_keys(self) -> Iterator[str]:
        """The keys of the scores of all of its trials, chains included."""
        for trial in self.trials:
            yield from trial.score_keys


def views_an_image(settings: Mapping[str, Any]) -> int:
    """Return how many samples a training run takes of each image in a pass, by its settings."""
    given = settings.get("decouple", {})
    return 1 + ("paste" in given) + int(given.get("crops", {}).get("count", 0))


def decoupling_in_words(settings: Mapping[str, Any]) -> str:
    """Return what a training run sees beside its images, for `wsss plan`; "" if nothing."""
    given = settings.get("decouple", {})
    said = [", objects pasted into other images"] if "paste" in given else []
    if crops := given.get("crops"):
        many = "1 crop" if crops["count"] == 1 else f"{crops['count']} crops"
        said.append(f", {many} of each image, {100 * crops['side']:g} % of its side, by their tags")
    return "".join(said)
