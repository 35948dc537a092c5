"""How strongly each transfer loss of a study pulls at the student's encoder, and fair lambdas.

Losses of different kinds cannot be compared at the same lambda: one is a mean of squares, another a
sum over pairs of images. Here each is measured by the length of its gradient on the student's
encoder, over that of the classification loss, on batches of the training images: at the student's
start, and after a training of its own. The geometric mean of the two says how strongly the loss
pulls with lambda 1. The lambda that is printed makes each loss pull as the reference does, to one
digit. Projections and branches are as they are drawn.

    python benchmarks/alignment_strength.py                       # the study alignments, seed 9
    python benchmarks/alignment_strength.py STUDY --variant V --set K=V --reference NAME --store S

It trains the networks alone under a seed that the study does not use, in about two minutes.
"""

import argparse
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from studies.planning import TrainingJob
from studies.planning.planner import make_plan
from studies.spec.loading import load_study
from studies.stages.training import build_paradigm, load_network, train_job
from studies.store import ArtifactStore
from wsss_core.backbones import Network
from wsss_core.data.image_set import ImageSet
from wsss_core.data.network_input import to_input
from wsss_core.transfer import Paradigm


def encoder_gradient(paradigm: Paradigm, loss: torch.Tensor) -> float:
    """Return the length of a loss's gradient on the student's encoder."""
    parameters = [p for p in paradigm.networks["student"].encoder.parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return math.sqrt(sum(float(g.double().square().sum()) for g in found if g is not None))


def pull(paradigm: Paradigm, images: ImageSet, batches: int, batch_size: int) -> float:
    """Return the length of L_tf's gradient over that of L_cls, the mean over some batches."""
    paradigm.train()
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(images), generator=generator)[: batches * batch_size].numpy()
    ratios = []
    for chosen in order.reshape(batches, batch_size):
        labels = torch.from_numpy(images.labels[chosen]).float()
        losses = paradigm.losses(to_input(images.images[chosen], "cpu"), labels)
        assert losses.transfer is not None
        transfer = encoder_gradient(paradigm, losses.transfer)
        ratios.append(transfer / encoder_gradient(paradigm, losses.classification))
    return sum(ratios) / len(ratios)


def strength(
    job: TrainingJob, networks: Sequence[Network], images: ImageSet, batches: int
) -> tuple[float, float]:
    """Return how strongly a job's loss pulls at the student's start, and at its end alone.

    Args:
        job: the training run.
        networks: the student and the teachers, each trained alone.
        images: of training.
        batches: how many are taken.

    """
    alone, teacher, *others = networks
    batch_size = int(job.settings["training"]["batch_size"])
    found = []
    for trained in (False, True):
        paradigm: Any = build_paradigm(job, teacher, others)
        if trained:
            paradigm.student.load_state_dict(alone.state_dict())
        found.append(pull(paradigm, images, batches, batch_size))
    return found[0], found[1]


def one_digit(value: float) -> float:
    """Return a number rounded to one digit: 0.0234 becomes 0.02."""
    return float(f"{value:.0e}")


def main() -> None:
    """Print a line for each taught configuration."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("study", nargs="?", default="alignments")
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--variant", action="append", default=[])
    parser.add_argument("--reference", default="cosine of activation maps")
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--store", type=Path, help="keeps the networks for another call")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        store = ArtifactStore(given.store or scratch)
        study = load_study(given.study, [*given.set, f"seeds={given.seed}"], given.variant)
        plan = make_plan(study)
        plan.image_sets[0].decode(store)
        jobs = list(plan.jobs.values())
        images = jobs[0].images.load(store, "train")
        alone = {}
        for job in (job for job in jobs if job.paradigm == "single"):
            train_job(job, images, store)
            alone[str(job.settings["student"])] = job
        measured = {}
        for job in (job for job in jobs if job.paradigm == "teacher-student"):
            networks = [
                load_network(store, alone[str(job.settings[role])], "student")
                for role in ("student", *job.teacher_roles)
            ]
            measured[job.name] = strength(job, networks, images, given.batches)
        reference = math.sqrt(math.prod(measured[given.reference]))
        print(f"{'configuration':48} {'start':>9} {'end':>9} {'lambda':>9}")
        for name, (start, end) in measured.items():
            fair = one_digit(reference / math.sqrt(start * end)) if start * end else math.nan
            print(f"{name[:48]:48} {start:9.3g} {end:9.3g} {fair:9g}")


if __name__ == "__main__":
    main()
