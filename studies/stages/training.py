"""The `train` stage: from a job's settings to trained networks in the store.

Artifact: student.safetensors (and teacher.safetensors after co-training), outcome.json.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from studies.planning import TrainingJob
from studies.spec.segmentation.single_stage import SINGLE_STAGE
from studies.stages.device import UNCOUNTED, WorkerShare
from studies.stages.environment import device_name
from studies.stages.features import attach_caches
from studies.stages.handover import JobStatus
from studies.stages.network_files import restore_network, save_network
from studies.stages.single_stage import (
    first_seed,
    prepared,
    recipe_of_job,
    single_stage_paradigm,
)
from studies.store import ArtifactStore
from studies.store.origin import method_digest, origin, together
from wsss_core.augmentation import MoreViews
from wsss_core.backbones import Network, build_network
from wsss_core.data.image_set import ImageSet
from wsss_core.features import add_neck
from wsss_core.training import (
    CollapseError,
    EpochRecord,
    MaskTargets,
    TrainingSettings,
    freeze,
    train,
)
from wsss_core.transfer import (
    Alignment,
    CoTraining,
    Paradigm,
    SeveralTeachers,
    Single,
    TeacherStudent,
)

OUTCOME = "outcome.json"


def initial_network(job: TrainingJob, role: str, weights: str) -> Network:
    """Return a role's network before training; its random parts follow from the seed alone.

    The same seed gives a network the same start in every configuration: trials are paired by seed.

    Raises:
        InputError: a weights file whose content is not the one that the job's key stands for.

    """
    backbone = job.settings[role]
    torch.manual_seed(first_seed(job, role))
    network = build_network(
        backbone["model"],
        classes=len(job.classes),
        image_size=job.image_size,
        weights=weights,
        partial_weights=backbone["partial_weights"],
        feature_stage=backbone["stage"],
        output_stride=backbone["output_stride"],
        final_norm=backbone.get("final_norm"),
        head=backbone["head"],
        options=backbone["options"],
        weights_digest=None if weights in ("none", "pretrained") else backbone["weights"],
        mean=backbone.get("mean"),
        std=backbone.get("std"),
        position_grid=backbone.get("position_grid"),
    )
    if "neck" in backbone:
        add_neck(network, **backbone["neck"])
    freeze(network, backbone.get("train"))
    recipe = recipe_of_job(job)
    return network if recipe is None else prepared(job, network, recipe, weights)


def load_network(
    store: ArtifactStore, job: TrainingJob, role: str, *, key: str | None = None
) -> Network:
    """Return a trained network: built as the job's settings say, with the artifact's weights.

    Args:
        store: where the network lies.
        job: the training run whose settings describe the network.
        role: "student" or "teacher".
        key: the training run that trained the network; None: the job itself.

    """
    network = initial_network(job, role, "none")
    with store.reading("train", key or job.key) as folder:
        # A teacher that was trained before, alone, was the student of its own training run.
        own = folder / f"{role}.safetensors"
        return restore_network(network, own if own.exists() else folder / "student.safetensors")


def build_paradigm(
    job: TrainingJob, teacher: Network | None, others: Sequence[Network] = ()
) -> Paradigm:
    """Build the networks and the loss that a job's settings describe.

    Args:
        job: the training run.
        teacher: the trained teacher of a teacher-student job.
        others: its other trained teachers.

    """
    student = initial_network(job, "student", job.weights["student"])
    if job.paradigm == "single":
        return Single(student)
    if job.paradigm == SINGLE_STAGE:
        networks = {"student": student}
        if "teacher" in job.settings:
            networks["teacher"] = initial_network(job, "teacher", job.weights["teacher"])
        return single_stage_paradigm(job, networks)
    if job.paradigm == "co-training":
        teacher = initial_network(job, "teacher", job.weights["teacher"])
    if teacher is None:
        raise ValueError("a teacher-student job needs its trained teacher")
    transfer = dict(job.settings["transfer"])
    # How strongly and on whom the loss acts is the paradigm's; the rest says what is aligned.
    weight, warmup = transfer.pop("weight"), transfer.pop("warmup")
    acts = {k: transfer.pop(k) for k in ("gradient", "ema") if k in transfer}
    shares = transfer.pop("teachers", None)
    torch.manual_seed(job.seed)
    if shares is not None:
        teachers = [teacher, *others]
        alignments = [Alignment(student, one, **transfer) for one in teachers]
        return SeveralTeachers(student, teachers, alignments, shares, weight, warmup)
    alignment = Alignment(student, teacher, **transfer)
    kind = CoTraining if job.paradigm == "co-training" else TeacherStudent
    return kind(student, teacher, alignment, weight, warmup, **acts)


@dataclass(frozen=True)
class TrainingOutcome:
    """How a training run ended, as its artifact keeps it.

    Attributes:
        status: ok or collapsed.
        error: why it collapsed.
        history: its epochs.
        images: how many it was trained on.
        parameters: of all its networks together.
        given: what its process had of the machine, see `WorkerShare.as_record`, and its origin,
            see `studies.store.origin`.
        micro_batch: the most images at once where memory ran out; None: whole batches.
        before: the key of each training run that had to come before it -> its seconds. They are
            those of its teachers, of its members and of what makes its masks, and those before
            them. None where one was trained by a version that kept no such record.

    """

    status: JobStatus
    error: str | None
    history: list[EpochRecord]
    images: int
    parameters: int
    given: dict[str, str | float | None]
    micro_batch: int | None
    before: dict[str, float] | None = None

    @property
    def seconds(self) -> float:
        """What the training itself took."""
        return sum(epoch.seconds for epoch in self.history)

    @property
    def seconds_before(self) -> float | None:
        """What all took that had to come before it."""
        return None if self.before is None else sum(self.before.values())

    @property
    def code_digest(self) -> str | None:
        """The digest of the code that trained it, and its teacher; None before digests."""
        digest = self.given.get("code_digest")
        return None if digest is None else str(digest)

    @classmethod
    def read(cls, store: ArtifactStore, key: str) -> "TrainingOutcome":
        """Return how a finished training run ended."""
        with store.reading("train", key) as folder:
            kept = json.loads((folder / OUTCOME).read_text())
            history = [EpochRecord(**epoch) for epoch in kept["history"]]
            return cls(**{**kept, "status": JobStatus(kept["status"]), "history": history})

    def write(self, folder: Path) -> None:
        """Write it to the folder of the artifact."""
        (folder / OUTCOME).write_text(json.dumps(asdict(self)))


def seconds_by_run(ended: Mapping[str, TrainingOutcome]) -> dict[str, float] | None:
    """Return the seconds of finished training runs and of those before them, each once.

    Args:
        ended: the key of each training run -> how it ended.

    Returns:
        Key -> seconds; None where it is not known what had to come before one of them.

    """
    found: dict[str, float] = {}
    for key, outcome in ended.items():
        if outcome.before is None:
            return None
        found |= {**outcome.before, key: outcome.seconds}
    return found


def train_job(
    job: TrainingJob,
    images: ImageSet,
    store: ArtifactStore,
    share: WorkerShare = UNCOUNTED,
    *,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    more_views: Callable[[], MoreViews] | None = None,
    targets: Callable[[], MaskTargets] | None = None,
) -> TrainingOutcome:
    """Train a job's networks unless the store holds them; an interrupted training goes on.

    Args:
        job: the training run.
        images: the training split.
        store: where its teacher lies and its networks go.
        share: what this process has of the machine.
        on_epoch: called after each epoch, whose checkpoint is written by then.
        more_views: makes its further views where it is decoupled, see `DecoupledViews`.
        targets: makes the targets of its CAMs, where it has a guide.

    Raises:
        InputError: there is no object to paste.
        torch.OutOfMemoryError: not even one image at a time fits.

    """
    if store.has("train", job.key):
        return TrainingOutcome.read(store, job.key)
    history: list[EpochRecord] = []
    networks: dict[str, nn.Module] = {}
    teachers, error, parents = _trained_teachers(job, store)
    made = origin(job.settings)
    before = parents | _sources_of_masks(job, store)
    for source in (one for one in before.values() if one.status is not JobStatus.OK):
        error = error or f"the network of its pseudo masks collapsed: {source.error}"
    made["code_digest"] = together([*(b.code_digest for b in before.values()), method_digest()])

    def after_epoch(record: EpochRecord) -> None:
        store.keep_scratch("train", job.key)
        if on_epoch is not None:
            on_epoch(record)

    if error is None:
        paradigm = build_paradigm(job, teachers[0] if teachers else None, teachers[1:])
        networks = {**paradigm.networks, **paradigm.parts}
        made["random_parts"] = random_parts(job, paradigm.networks, parents.values())
        if job.paradigm != SINGLE_STAGE:  # whose CAMs look at images of other sizes
            attach_caches(paradigm, job, images.images, store, share.device)
        try:
            history = train(
                paradigm,
                images.images,
                images.labels,
                TrainingSettings.from_config(**job.settings["training"]),
                seed=job.seed,
                device=share.device,
                checkpoint=store.scratch("train", job.key) / "checkpoint.pt",
                on_epoch=after_epoch,
                more_views=None if more_views is None else more_views(),
                guide=None if job.guide is None or targets is None else targets(),
            )
        except CollapseError as collapse:
            error, history = str(collapse), collapse.history
    outcome = TrainingOutcome(
        status=JobStatus.OK if error is None else JobStatus.COLLAPSED,
        error=error,
        history=history,
        images=len(images),
        parameters=sum(p.numel() for n in networks.values() for p in n.parameters()),
        given={**share.as_record(device_name(share.device)), **made},
        micro_batch=history[-1].micro_batch if history else None,
        before=seconds_by_run(before),
    )
    more = {"teachers": list(job.other_parents)} if job.other_parents else {}
    about = {"settings": job.settings, "parent": job.parent, **more}
    with store.build("train", job.key, about) as folder:
        for role, network in networks.items():
            save_network(network, folder / f"{role}.safetensors")
        outcome.write(folder)
    return outcome


def _sources_of_masks(job: TrainingJob, store: ArtifactStore) -> dict[str, TrainingOutcome]:
    """Return how the training runs ended whose maps become pseudo masks, by their keys."""
    keys = [maps.training.key for maps in (job.maps, job.guide) if maps is not None]
    if not all(store.has("train", key) for key in keys):
        raise RuntimeError("the network of its pseudo masks is not trained: that run failed")
    return {key: TrainingOutcome.read(store, key) for key in keys}


def random_parts(
    job: TrainingJob, networks: Mapping[str, Network], parents: Iterable[TrainingOutcome]
) -> str | None:
    """Say which networks began with a part of a weights file's tensors, and with how many.

    Args:
        job: the training run.
        networks: those that it trains, by role.
        parents: how the training runs of its teachers ended, which said the same of the teachers.

    Returns:
        A sentence for each of them; None if there is none.

    """
    said = [str(parent.given.get("random_parts") or "") for parent in parents]
    for role, network in networks.items():
        loaded = getattr(network, "initial_weights", None)
        if loaded is not None and loaded.missing:
            said.append(f"{job.settings[role]['model']}: {loaded}")
    return ". ".join(dict.fromkeys(filter(None, said))) or None


def _trained_teachers(
    job: TrainingJob, store: ArtifactStore
) -> tuple[list[Network], str | None, dict[str, TrainingOutcome]]:
    """Return the teachers that a job needs; why one cannot teach; how their training runs ended.

    The runs are by their keys. All three are empty for a job without one. Of several, those after
    one that collapsed are left out.
    """
    networks: list[Network] = []
    ended: dict[str, TrainingOutcome] = {}
    for role, key in job.parents.items():
        if not store.has("train", key):
            raise RuntimeError("its teacher is not trained: that training run failed")
        parent = ended[key] = TrainingOutcome.read(store, key)
        if parent.status is not JobStatus.OK:
            return [], f"its teacher collapsed: {parent.error}", ended
        networks.append(load_network(store, job, role, key=key))
    return networks, None, ended
