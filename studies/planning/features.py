"""Maps of networks that stay as they are: which a training run reads, and their keys.

A frozen encoder's maps follow from its weights, the images, their size and the view. A frozen
teacher's follow from its training run. Both are artifacts of the stage `features`, made by whoever
needs them first and read by every trial, seed and study with the same keys.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from studies.planning.job import TrainingJob, more_teacher_roles
from studies.spec.configuration import Configuration
from studies.spec.frozen import Caches
from studies.store import stage_key
from wsss_core.errors import InputError
from wsss_core.plugins import is_plugin
from wsss_core.training.settings import TrainingSettings
from wsss_core.transfer.names import RELATIONS

_NOT_OF_ENCODERS = ("head", "train", "neck", "taps")


@dataclass(frozen=True)
class MapView:
    """A view of all images of a split.

    Attributes:
        side: what they are resized to, in pixels.
        mirrored: whether they are mirrored then.

    """

    side: int
    mirrored: bool = False

    def __str__(self) -> str:
        return f"{self.side} px{', mirrored' if self.mirrored else ''}"


def has_frozen_encoder(backbone: Mapping[str, Any]) -> bool:
    """Return whether nothing of a backbone's encoder learns, by a job's settings of it."""
    return backbone.get("train") in ("head", "neck")


def training_views(settings: Mapping[str, Any]) -> list[MapView] | None:
    """Return the views that a training run sees; None where they are drawn continuously."""
    training = TrainingSettings.from_config(**settings["training"])
    if "decouple" in settings or not training.has_fixed_views:
        return None
    size = settings["image_size"]
    return [MapView(size), *([MapView(size, mirrored=True)] if training.flip else [])]


def features_key(job: TrainingJob, role: str, split: str, view: MapView) -> str:
    """Return the key of a frozen encoder's maps of a split in one view."""
    backbone = job.settings[role]
    settings = {
        "encoder": {k: v for k, v in backbone.items() if k not in _NOT_OF_ENCODERS},
        "size": job.image_size,
        "side": view.side,
        "mirrored": view.mirrored,
        "dtype": features_dtype(job),
    }
    if backbone["weights"] == "none" or backbone["partial_weights"]:
        settings["seed"] = job.seed  # which draws what no file holds
    return stage_key("features", settings, data=[job.images.fingerprints[split]])


def features_dtype(job: TrainingJob) -> str:
    """Return the type that a job's frozen encoders' maps are kept in."""
    return str(job.settings.get("features", "float16"))


@dataclass(frozen=True)
class TeacherMaps:
    """The maps of a frozen teacher that a taught training run reads.

    Attributes:
        taps: inner layers that are aligned.
        parts: the parts of the teacher's answer that are kept, see `wsss_core.features`.
        dtype: "float32" or "float16".
        batch_size: of training, in whose batches it was asked.
        precision: of training.

    """

    taps: tuple[str | int, ...]
    parts: tuple[str, ...]
    dtype: str
    batch_size: int
    precision: str

    def key(self, job: TrainingJob, view: MapView, role: str = "teacher") -> str:
        """Return the key of a teacher's maps of a job's training images in one view."""
        settings = {
            "teacher": [list(self.taps), list(self.parts), self.batch_size, self.precision],
            "size": view.side,
            "mirrored": view.mirrored,
            "dtype": self.dtype,
        }
        data = [job.images.fingerprints["train"]]
        return stage_key("features", settings, parents=[job.parents[role]], data=data)


def teacher_maps(job: TrainingJob) -> TeacherMaps | None:
    """Return which maps of its teacher a job reads; None where it asks the teacher itself.

    A teacher is asked where views are drawn continuously, where the study says so, where attention
    is compared, and where its maps would be read no oftener than they have to be made.
    """
    if job.paradigm != "teacher-student" or (views := training_views(job.settings)) is None:
        return None
    rounded = job.settings.get("teacher_maps")
    training, transfer = job.settings["training"], job.settings["transfer"]
    if _compares_attention(transfer):
        return None
    often = "iterations" in training or training["epochs"] > len(views)
    if rounded is None and (job.teacher_maps == "none" or not often):
        return None
    taps = tuple(
        pair["teacher"] for pair in transfer["layers"] or () if pair["teacher"] is not None
    )
    return TeacherMaps(
        taps,
        _parts(transfer, len(taps)),
        rounded or "float32",
        training["batch_size"],
        training["precision"],
    )


def reads_frozen_teacher(job: TrainingJob, role: str = "teacher") -> bool:
    """Return whether a teacher of a job answers from its own encoder's maps."""
    if job.paradigm != "teacher-student" or not has_frozen_encoder(job.settings[role]):
        return False
    if _compares_attention(job.settings["transfer"]):
        return False
    tapped = any(pair["teacher"] is not None for pair in job.settings["transfer"]["layers"] or ())
    return training_views(job.settings) is not None and not tapped


def reads_kept_maps(jobs: Iterable[TrainingJob]) -> bool:
    """Return whether some job has a network with a frozen encoder."""
    networks = (job.settings.get(role) for job in jobs for role in ("student", *job.teacher_roles))
    return any(network and has_frozen_encoder(network) for network in networks)


def _parts(transfer: Mapping[str, Any], taps: int) -> tuple[str, ...]:
    representation = str(transfer["representation"])
    tapped = tuple(f"tap_{number}" for number in range(taps))
    if representation in ("activation_map", "logits"):
        return ("activation_maps" if representation == "activation_map" else "logits",)
    final = any(pair["teacher"] is None for pair in transfer["layers"] or [{"teacher": None}])
    if is_plugin(representation):
        return ("features", "activation_maps", "logits", *tapped)
    return (*(("features",) if final else ()), *tapped)


def _compares_attention(transfer: Mapping[str, Any]) -> bool:
    """Return whether a transfer loss looks at attention, which is in no stored map."""
    return transfer["representation"] == "attention" or transfer["metric"] == "cross_attention"


def cache_settings(
    configuration: Configuration, settings: Mapping[str, Any], caches: Caches
) -> dict[str, Any]:
    """Return what a training run's key holds of caches: nothing for the defaults.

    Args:
        configuration: the configuration.
        settings: the training run's so far.
        caches: the section of the study.

    Raises:
        InputError: an alignment that moves nothing, or layers of a frozen encoder.

    """
    others = more_teacher_roles(len(configuration.teacher_names))
    roles = [role for role in ("student", "teacher", *others) if role in settings]
    _refuse_unmoved(configuration, settings)
    found: dict[str, Any] = {}
    if caches.features != "float16" and any(has_frozen_encoder(settings[r]) for r in roles):
        found["features"] = caches.features
    rounded = caches.teachers == "float16" and configuration.paradigm == "teacher-student"
    rounded = rounded and not _compares_attention(settings["transfer"])
    if rounded and training_views(settings) is not None:
        found["teacher_maps"] = "float16"
    return found


def _refuse_unmoved(configuration: Configuration, settings: Mapping[str, Any]) -> None:
    """Raise InputError unless the transfer loss can move a network that it is meant to move."""
    if configuration.paradigm in ("single", "single-stage"):
        return
    together = configuration.paradigm == "co-training"
    roles = ("student", "teacher") if together else ("student",)
    for role in roles:
        tapped = [getattr(pair, role) for pair in configuration.layers or ()]
        tapped = [layer for layer in tapped if layer is not None]
        if tapped and has_frozen_encoder(settings[role]):
            raise InputError(
                f"layers: {role} {tapped[0]!r} lies in a frozen encoder (train: "
                f"{settings[role]['train']}); expected its final features, which the neck gives"
            )
    if _compares_attention(settings["transfer"]):
        _refuse_unheard(configuration, settings, roles)
    gradient = (configuration.gradient or "both") if together else "student"
    moved = roles if gradient == "both" else (gradient,)
    by_head = configuration.representation == "logits" or (
        configuration.representation == "activation_map"
        and configuration.projection in (None, "none")
    )
    own = is_plugin(str(configuration.representation)) or by_head
    if not own and all(settings[role].get("train") == "head" for role in moved):
        relation = f" by {configuration.metric}" if configuration.metric in RELATIONS else ""
        raise InputError(
            f"{configuration.paradigm} aligns {configuration.representation}{relation} of a "
            "network that trains its head alone, which moves nothing; expected train: neck, or "
            "representation activation_map (without projection) or logits"
        )


def _refuse_unheard(
    configuration: Configuration, settings: Mapping[str, Any], roles: Sequence[str]
) -> None:
    """Raise InputError unless the networks that learn compute their attention in every step."""
    if settings["training"].get("compile"):
        raise InputError(
            f"{configuration.metric} of attention cannot be read in a compiled encoder; expected "
            "training.compile: false"
        )
    heard = roles if configuration.representation == "attention" else roles[1:]
    for role in heard:
        if has_frozen_encoder(settings[role]):
            raise InputError(
                f"attention lies in the encoder of the {role}, which is frozen (train: "
                f"{settings[role]['train']}); expected train: all or last: N"
            )
