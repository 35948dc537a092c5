"""What is tried of a training run before anything is paid for: a step, a save, a reload, CAMs.

Networks, alignment, optimizer, losses, files and CAMs are those of the run itself. Its first step
takes as many training images as the last batch of an epoch will hold, because BatchNorm has nothing
to normalise by where a single image leaves one value per channel.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reports.storage import storage_errors
from studies.planning import Plan, TrainingJob
from studies.spec.segmentation.single_stage import SINGLE_STAGE
from studies.stages.network_files import restore_network, save_network
from studies.stages.training import build_paradigm, initial_network
from studies.store import ArtifactStore, canonical
from studies.store.origin import folders_digest, origin
from wsss_core.backbones import Network
from wsss_core.cams import CamSettings, check_cam
from wsss_core.data.image_set import ImageSet
from wsss_core.data.network_input import to_input
from wsss_core.errors import InputError, as_input_error, one_line
from wsss_core.training import CollapseError, TrainingSettings, train
from wsss_core.transfer import Paradigm

PIXELS = 2**18
"""Pixels of the images that are tried at most: 64 of 64 px, 5 of 224 px. Two are always allowed."""

_SLOW = 1e-4
"""The highest learning rate of the step."""

_ALIKE = 1e-3
"""The share of a map's largest value by which maps of the same weights may differ."""


@dataclass(frozen=True)
class NetworkCheck:
    """A pair of networks to try.

    Attributes:
        job: the training run, with seed 0.
        count: how many training images its epochs have.
        images: some of them, uint8 [n, S, S, 3]; n is the size of the last batch of an epoch, or
            what `PIXELS` allows.
        labels: theirs, bool [n, K].
        cams: how CAMs are made of its trained student.
        saved: the networks that are saved and read back; another check does so with the others.

    """

    job: TrainingJob
    count: int
    images: np.ndarray
    labels: np.ndarray
    cams: tuple[CamSettings, ...] = ()
    saved: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        job: TrainingJob,
        images: ImageSet,
        cams: tuple[CamSettings, ...],
        saved: tuple[str, ...],
    ) -> "NetworkCheck":
        """Return the check of a training run.

        Args:
            job: the training run.
            images: its training split.
            cams: how CAMs are made; left out where no trial scores the run.
            saved: the roles of the networks that are saved and read back.

        """
        count, size = len(images), job.image_size
        tried = min(last_batch(count, _batch_size(job)), max(2, PIXELS // size**2))
        chosen = np.linspace(0, count - 1, tried).astype(int)
        return cls(
            replace(job, settings={**job.settings, "seed": 0}),
            count,
            np.stack([images.images[index] for index in chosen]),
            images.labels[chosen],
            cams if job.trials else (),
            saved,
        )

    @property
    def name(self) -> str:
        """The training run's name with its models."""
        settings = self.job.settings
        models = [settings[role]["model"] for role in ("student", *self.job.teacher_roles)]
        return f"{self.job.name} ({', '.join(models)})"

    def key(self) -> str:
        """Return 20 hexadecimal digits: equal for checks that end alike.

        They stand for what `signature` does, the code of the method and of plug-ins, the versions
        of packages and the kind of processor.
        """
        made_by: dict[str, Any] = origin(self.job.settings)
        made_by["threads"] = None  # as many as there are
        made_by["preflight"] = folders_digest("studies/preflight")
        cams = [asdict(cam) for cam in self.cams]
        content = canonical([signature(self.job), cams, self.saved, made_by])
        return blake2b(content.encode(), digest_size=10).hexdigest()

    def run(self, folder: Path) -> None:
        """Try all; trained networks are written to a folder and read back.

        Raises:
            InputError: the first thing that fails, in a line that begins with the run's name.
            StorageError: the folder cannot be written or read, which is no fault of a network.

        """
        with as_input_error(self.job.name, InputError):
            paradigm = _built(self.job)
            _check_cams(paradigm, self.job, self.cams)
            try:
                self._train_a_step(paradigm)
            except InputError:
                _try_two_images(paradigm, self.job)  # it may say what is wrong more simply
                raise
            if self.job.paradigm == SINGLE_STAGE:  # most of its losses begin later
                _try_two_images(paradigm, self.job)
        for role in self.saved:
            with storage_errors(folder), as_input_error(self.job.name, InputError):
                self._save_and_reload(role, paradigm.networks[role], folder / f"{role}.safetensors")

    def _train_a_step(self, paradigm: Paradigm) -> None:
        given = TrainingSettings.from_config(**self.job.settings["training"])
        # Compiled, they compute the same, after minutes. A learning rate that ruins the weights is
        # a result of the study; gradients that are not finite at any rate are not.
        settings = replace(
            given,
            epochs=1,
            iterations=1,
            batch_size=len(self.images),
            learning_rate=min(given.learning_rate, _SLOW),
            compile=False,
        )
        try:
            train(paradigm, self.images, self.labels, settings, seed=self.job.seed)
        except CollapseError as collapse:
            raise InputError(
                f"its first training step fails: {collapse}; expected weights files, networks and "
                "losses of finite numbers"
            ) from collapse
        except InputError:
            raise
        except torch.OutOfMemoryError as error:
            raise InputError(f"its first training step fails: {one_line(error)}") from error
        except Exception as error:
            if len(self.images) == 1 and _ONE_VALUE in str(error):
                raise InputError(_too_few_values(self.count, given.batch_size)) from error
            said = f"{type(error).__name__}: {one_line(error, 300)}"
            raise InputError(
                f"its first training step on images of {self.job.image_size} px fails: {said}"
            ) from error

    def _save_and_reload(self, role: str, network: Network, file: Path) -> None:
        with _named(f"its {role} cannot be saved"):
            save_network(network, file)
        with _named(f"its {role} cannot be read back after it was saved"):
            again = restore_network(initial_network(self.job, role, "none"), file)
        inputs = to_input(self.images[:1], "cpu")
        with torch.no_grad():
            before, after = (n(inputs).activation_maps.float() for n in (network, again))
        room = _ALIKE * float(before.nan_to_num().abs().amax())
        if not torch.allclose(before, after, rtol=0.0, atol=room, equal_nan=True):
            raise InputError(
                f"its {role} makes other maps after it was saved and read back; expected all that "
                "its maps depend on among its parameters and persistent buffers"
            )


_RECIPE = ("rescale", "jitter", "randaugment", "cutmix", "optimizer", "head_multiple", "ema")
"""The later settings of training that a step can fail by."""


def signature(job: TrainingJob) -> str:
    """Return what the first step of a training run depends on, apart from code and machine.

    Seeds and how long, how fast and with which flips it trains are no part of it.
    """
    training = job.settings["training"]
    recipe = [training.get(key) for key in _RECIPE]
    told = [_batch_size(job), training["precision"], *([recipe] if any(recipe) else [])]
    settings = {**job.settings, "seed": 0, "training": told}
    return canonical([settings, job.images.fingerprints["train"], bool(job.trials)])


def last_batch(count: int, batch_size: int) -> int:
    """Return how many images the last batch of an epoch holds.

    >>> last_batch(17, 16), last_batch(32, 16), last_batch(3, 16)
    (1, 16, 3)
    """
    return count % batch_size or batch_size


def distinct_checks(
    plan: Plan, pending: Iterable[TrainingJob], store: ArtifactStore
) -> list[NetworkCheck]:
    """Return the checks that pending training runs ask for, each once.

    Args:
        plan: names all training runs; the first that holds a network saves it.
        pending: those that have to run.
        store: holds the decoded images.

    """
    asked = {signature(job) for job in pending if not job.members}
    cams = tuple(dict.fromkeys([plan.cam.cam, *(chain.cam for chain in plan.runnable_chains)]))
    images: dict[str, ImageSet] = {}
    known: set[str] = set()
    checks = []
    distinct: dict[str, TrainingJob] = {}
    for job in plan.jobs.values():
        if not job.members:  # whose networks are those of other jobs
            distinct.setdefault(signature(job), job)
    for name, job in distinct.items():
        networks = {
            role: canonical([job.settings[role], job.image_size]) for role in job.trained_roles
        }
        new = tuple(role for role, network in networks.items() if network not in known)
        known.update(networks.values())
        if name in asked:
            key = job.images.key("train")
            if key not in images:
                images[key] = job.images.load(store, "train")
            checks.append(NetworkCheck.of(job, images[key], cams, new))
    return checks


def check_networks(job: TrainingJob) -> None:
    """Build a training run's networks and alignment, and try them on two images.

    Args:
        job: the training run. Its teacher is built, not read: it need not be trained yet.

    Raises:
        InputError: a stage that a CNN lacks, weights whose shapes do not fit, maps that do not
            meet, or a size that a network cannot take.

    """
    _try_two_images(_built(job), job)


def _built(job: TrainingJob) -> Paradigm:
    teachers: list[Network] = []
    if job.paradigm == "teacher-student":
        teachers = [initial_network(job, role, job.weights[role]) for role in job.teacher_roles]
    return build_paradigm(job, teachers[0] if teachers else None, teachers[1:]).eval()


def _check_cams(paradigm: Paradigm, job: TrainingJob, cams: Iterable[CamSettings]) -> None:
    """Try the ways of making CAMs; where the network fails at all, say that instead."""
    student: Any = paradigm.networks["student"]
    try:
        for cam in cams:
            check_cam(student, cam, job.image_size)
    except InputError:
        _try_two_images(paradigm, job)
        raise


def _try_two_images(paradigm: Paradigm, job: TrainingJob) -> None:
    """Run every network and the loss on black images; raise if anything does not fit."""
    size, classes = job.image_size, len(job.classes)
    try:
        with torch.no_grad():
            paradigm.eval().losses(torch.zeros(2, 3, size, size), torch.zeros(2, classes))
    except InputError:
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        said = one_line(error)
        raise InputError(f"its networks cannot take images of {size} px: {said}") from error


def _batch_size(job: TrainingJob) -> int:
    return int(job.settings["training"]["batch_size"])


_ONE_VALUE = "Expected more than 1 value per channel"
"""What PyTorch says where a normalisation in training has a single value to normalise by."""


def other_batch_size(count: int, batch_size: int) -> int:
    """Return the nearest batch size that leaves no image of two or more alone in its batch.

    >>> other_batch_size(17, 16), other_batch_size(4, 1)
    (15, 2)
    """
    fitting = (size for size in range(2, count + 1) if last_batch(count, size) > 1)
    return min(fitting, key=lambda size: abs(size - batch_size))


def _too_few_values(count: int, batch_size: int) -> str:
    """Return why a step of one image fails, and the ways out."""
    if count == 1:
        cause, ways = "there is 1 training image", "more training images"
    elif batch_size == 1:
        other = other_batch_size(count, batch_size)
        cause = f"batch_size 1 makes steps of a single one of {count} training images"
        ways = f"batch_size {other} or more"
    else:
        other = other_batch_size(count, batch_size)
        cause = (
            f"{count} training images in batches of batch_size {batch_size} leave a last batch of "
            "1 image"
        )
        ways = f"another batch_size ({other}), one training image more or less"
    return (
        f"{cause}, of which BatchNorm has one value per channel and cannot train; expected {ways}, "
        "a larger data.size, or a smaller output_stride (head pcm halves the map once more)"
    )


@contextmanager
def _named(said: str) -> Iterator[None]:
    """Turn whatever is raised into bad input that says what failed."""
    with as_input_error(said, Exception, named=True):
        yield
