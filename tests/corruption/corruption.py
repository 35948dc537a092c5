"""Files of a finished study are damaged, one at a time, and read as the product reads them.

Each disturbance takes a kind of file in turn, one of its files and a damage at random: a flipped
bit, a cut, a page of zeros, a deletion. Then the product's own readers and its healing run, in this
process as a new process would. The end is one of these:

    no effect    the same result, without a word
    healed       the same result after the product made or brought the file again
    named        an error of one line that names the file; the next run makes it again
    wrong        another result without a word
    traceback    an error of another kind

    python tests/corruption/corruption.py --count 10000 [--seed 0]

prints how often each kind of file ended how. The exit code is 1 if anything was wrong or gave a
traceback; each such case is printed with what repeats it.
"""

import argparse
import hashlib
import logging
import os
import random
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from damages import DAMAGES, put
from study_on_disk import StudyOnDisk

import reports.ledger.snapshot
from reports import read_studies
from reports.results.segments import segment_frame
from reports.storage import StorageError
from studies.planning.plan import Plan
from studies.stages.cams import network_maps
from studies.stages.segmentation import SegmentOutcome, load_trained_segmenter
from studies.stages.training import TrainingOutcome, build_paradigm, load_network
from studies.store.artifacts import CorruptArtifactError
from wsss_core.errors import InputError
from wsss_core.features import FEATURES_FILE

logging.getLogger("transformers").setLevel(logging.ERROR)

ENDS = ("no effect", "healed", "named", "wrong", "traceback")
STAGES = (
    "images",
    "train",
    "cams",
    "fits",
    "described",
    "refined",
    "scores",
    "segment",
    "features",
)
TABLES = (
    "plan",
    "trials",
    "scores",
    "panels",
    "history",
    "refinements",
    "refined",
    "segments",
    "segmented",
    "segment_scores",
    "reasons",
)


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: as it is counted.
        holds: whether a file, by its name below the study's folder, is of the kind.
        read: how the product reads a file by name; returns a digest of what it makes of it.
        damages: of `damages.DAMAGES`.

    """

    name: str
    holds: Callable[[str], bool]
    read: Callable[[StudyOnDisk, Plan, str], str]
    damages: tuple[str, ...] = tuple(DAMAGES)


def digest(*values: Any) -> str:
    """Return a digest of arrays, tensors, frames and plain values."""
    found = hashlib.blake2b(digest_size=16)
    for value in values:
        if isinstance(value, np.ndarray):
            found.update(np.ascontiguousarray(value).tobytes())
        elif isinstance(value, torch.Tensor):
            found.update(value.detach().cpu().numpy().tobytes())
        else:
            found.update(repr(value).encode())
    return found.hexdigest()


def of_the_store(study: StudyOnDisk, plan: Plan, name: str) -> str:
    """Read an artifact as the stage that needs it does."""
    _, _, stage, key, *_ = name.split("/")
    store = study.store
    jobs = {job.key: job for job in plan.jobs.values()}
    if not store.has(stage, key):
        raise FileNotFoundError(f"{stage}/{key}")
    if stage == "images":
        (images,) = plan.image_sets
        split = next((s for s, k in images.splits.keys.items() if k == key), None)
        if split is None:  # true masks of training images
            masks = next(job.masks for job in plan.segments if job.masks is not None)
            return digest(*(value for item in masks.load(store).items() for value in item))
        found = images.splits.load(store, split)
        return digest(found.images, found.labels, found.identifiers, found.classes)
    if stage == "train":
        outcome = TrainingOutcome.read(store, key)
        network = load_network(store, jobs[key], "student")
        return digest(outcome, *network.state_dict().values())
    if stage == "segment":
        segmenter = load_trained_segmenter(store, key)
        return digest(SegmentOutcome.read(store, key), *segmenter.state_dict().values())
    if stage == "cams":
        job = jobs[study.parents[key]]
        (images,) = plan.image_sets
        found_maps = []
        for split in ("tune", "test"):
            data = images.splits.load(store, split)
            raw = network_maps(job, "student", split, data, store, "cpu", plan.cam.cam)
            found_maps += [raw.maps, raw.logits, raw.without_object]
        return digest(store.fetch(stage, key).name, *found_maps)
    if stage in ("refined", "features"):
        with store.reading(stage, key) as folder:
            return digest(np.load(folder / ("maps.npy" if stage == "refined" else FEATURES_FILE)))
    files = sorted(file for file in store.fetch(stage, key).rglob("*") if file.is_file())
    return digest(*(file.read_bytes() for file in files))


def of_the_ledger(study: StudyOnDisk, plan: Plan, name: str) -> str:
    """Run again, as the error of a damaged part says, and read the report's outcomes."""
    study.run()
    found = [digest(record.outcomes().to_csv()) for record in read_studies(study.results)]
    (record,) = read_studies(study.results)
    found += [digest(record.history[k].to_csv()) for k in sorted(record.history)]
    found += [digest(panels(record, trial.key)) for trial in record.trials.values()]
    reasons = [record.reasons_of(trial) for trial in record.trials.values()]
    found += [digest(dict(one.measures), dict(one.maps)) for one in reasons]
    found.append(digest(record.search.to_csv()))
    found.append(digest(segment_frame([(record.study, None, record.segments)]).to_csv()))
    return digest(found)


def panels(record: Any, key: str) -> list[bytes]:
    """Return the pictures of a trial."""
    frame = record.panels.of(key)
    return [png for name in ("image_png", "mask_png", "cam_png") for png in frame[name]]


def of_a_checkpoint(study: StudyOnDisk, plan: Plan, name: str) -> str:
    """Go on with a training."""
    return study.train()


def of_weights(study: StudyOnDisk, plan: Plan, name: str) -> str:
    """Start a network of a plan that was made before the file was damaged."""
    job = next(job for job in plan.jobs.values() if job.paradigm == "single")
    network = build_paradigm(job, None).networks["student"]
    return digest(*network.state_dict().values())


def of_masks(study: StudyOnDisk, plan: Plan, name: str) -> str:
    """Make the masks again that are no longer what was written, and read all."""
    return study.make_masks()


KINDS = [
    *(
        Kind(
            f"store: {stage}",
            lambda name, stage=stage: (
                name.startswith(f"results/store/{stage}/") and not name.endswith("/manifest.json")
            ),
            of_the_store,
        )
        for stage in STAGES
    ),
    Kind("store: manifest", lambda name: name.endswith("/manifest.json"), of_the_store),
    *(
        Kind(
            f"ledger: {table}",
            lambda name, table=table: name.startswith(f"results/ledger/{table}/"),
            of_the_ledger,
        )
        for table in TABLES
    ),
    # A row of a search that this study is not: no run of it makes the row again, so it must be
    # named. A search whose row is deleted asks for that trial again.
    Kind(
        "ledger: search",
        lambda name: name.startswith("results/ledger/search/"),
        of_the_ledger,
        tuple(name for name in DAMAGES if name != "deleted"),
    ),
    Kind("ledger: snapshot", lambda name: name.startswith("results/derived/"), of_the_ledger),
    Kind("masks", lambda name: name.startswith("masks/") and name.endswith(".png"), of_masks),
    Kind("masks: record", lambda name: name == "masks/masks.json", of_masks),
    Kind("weights", lambda name: name == "cnn.safetensors", of_weights),
    Kind("checkpoint", lambda name: name == "scratch/checkpoint.pt", of_a_checkpoint),
]


def names_the_file(error: BaseException, name: str) -> bool:
    """Return whether a message names the file, its artifact or its part."""
    parts = name.split("/")
    named = {name, Path(name).name, Path(name).stem, "/".join(parts[2:4])}
    return any(each in str(error) for each in named) and "\n" not in str(error)


def disturbed(study: StudyOnDisk, plan: Plan, kind: Kind, name: str, undisturbed: str) -> str:
    """Return how the reading of a damaged file ends."""
    try:
        found = kind.read(study, plan, name)
    except FileNotFoundError as missing:
        # A manifest that is gone: the artifact is not finished, and the next run makes it.
        return "named" if names_the_file(missing, name) else "traceback"
    except (InputError, StorageError) as error:
        if isinstance(error, CorruptArtifactError):
            stage, key = name.split("/")[2:4]
            if study.store.has(stage, key):
                return "wrong"  # it would be met again
        return "named" if names_the_file(error, name) else "traceback"
    if found != undisturbed:
        moved = [said for said in study.said if "moved to ledger/quarantined" in said]
        return "named" if any(Path(name).name in said for said in moved) else "wrong"
    spoken = any(
        "corrupt" in said or "anew" in said or "again" in said or "made" in said
        for said in study.said
    )
    back = (study.folder / name).exists() and (
        (study.folder / name).read_bytes() == study.content(name)
    )
    return "healed" if spoken or back else "no effect"


def main(arguments: list[str] | None = None) -> int:
    """Damage files, count how it ended, print the table; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="of what is damaged and how")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    # Tables of few parts have a snapshot too.
    reports.ledger.snapshot.WORTH = 1
    ends: dict[str, Counter[str]] = {kind.name: Counter() for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        study = StudyOnDisk(Path(folder) / "study")
        with study.listening():
            study.make()
            study.run()
            read_studies(study.results)
            study.keep()
            plan = study.plan()
            files = {kind.name: [n for n in study.names() if kind.holds(n)] for kind in KINDS}
            assert all(files.values()), [kind for kind, names in files.items() if not names]
            undisturbed: dict[str, str] = {}
            chosen = random.Random(options.seed)
            for number in range(options.count):
                kind = KINDS[number % len(KINDS)]
                name = chosen.choice(files[kind.name])
                if name not in undisturbed:
                    study.restore()
                    undisturbed[name] = kind.read(study, plan, name)
                    study.restore()
                damage = chosen.choice(kind.damages)
                put(study.folder / name, DAMAGES[damage](study.content(name), chosen))
                try:
                    end = disturbed(study, plan, kind, name, undisturbed[name])
                except Exception:
                    end = "traceback"
                    print(traceback.format_exc())
                ends[kind.name][end] += 1
                if end in ("wrong", "traceback"):
                    print(f"{end}: disturbance {number}, {damage} of {name}", *study.said[-3:])
                study.restore()
    return printed(ends)


def printed(ends: dict[str, Counter[str]]) -> int:
    """Print the table; return 1 if anything was wrong."""
    print(f"| kind of file | disturbed | {' | '.join(ENDS)} |")
    print(f"|---|---:|{'---:|' * len(ENDS)}")
    total: Counter[str] = Counter()
    for name, counts in ends.items():
        total += counts
        print(f"| {name} | {counts.total()} | {' | '.join(str(counts[e]) for e in ENDS)} |")
    print(f"| **all** | {total.total()} | {' | '.join(str(total[e]) for e in ENDS)} |")
    return int(total["wrong"] + total["traceback"] > 0)


if __name__ == "__main__":
    sys.exit(main())
