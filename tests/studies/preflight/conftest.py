"""Odd networks as plug-ins, the preflight of a study with them, and what is asked of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studies.planning.planner import make_plan
from studies.preflight import preflight
from studies.spec.study import Study
from studies.store import TRIED
from studies.store.artifacts import ArtifactStore
from wsss_core.errors import InputError

Raw = dict[str, Any]
Try = Callable[[Raw], ArtifactStore]

NETWORKS = """
import logging, multiprocessing, os, signal, time
import torch
from wsss_core.backbones import build_network
VERSION = 1

def narrow(classes, image_size, **options):
    return build_network("resnet18", classes=classes, image_size=image_size, output_stride=8,
                         options={"channels": [4, 4, 4, 4]})

class InTraining(torch.nn.Module):
    def __init__(self, act):
        super().__init__()
        self.act = act
    def forward(self, x):
        if self.training:
            self.act()
        return x

def acting(act):
    def build(**arguments):
        network = narrow(**arguments)
        network.encoder.extractor.maxpool = InTraining(act)
        return network
    return build

def end_itself(how):
    def act():
        assert multiprocessing.parent_process() is not None  # spares the tests' own process
        how()
    return act

killed = acting(end_itself(lambda: os.kill(os.getpid(), signal.SIGKILL)))
aborting = acting(end_itself(os.abort))
leaving = acting(end_itself(lambda: os._exit(3)))

sleeping = acting(end_itself(lambda: time.sleep(600)))
standing_still = acting(end_itself(lambda: os.kill(os.getpid(), signal.SIGSTOP)))

def with_a_thread_that_stays(**arguments):
    import threading
    threading.Thread(target=time.sleep, args=(600,)).start()
    return narrow(**arguments)

def no_memory():
    raise torch.OutOfMemoryError("tried to allocate 80 GiB")
greedy = acting(no_memory)

def unknown_fault():
    raise KeyError("gamma")
faulty = acting(unknown_fault)

def no_autograd():
    if type(multiprocessing.current_process()).__name__ == "ForkProcess":
        raise RuntimeError("Unable to handle autograd's threading in combination with fork-based "
                           "multiprocessing. See https://...")
trained_beside_a_gpu = acting(no_autograd)
warning = acting(lambda: logging.getLogger("wsss_core.own").warning("149 of 150 at random"))

def not_a_number(**arguments):
    network = narrow(**arguments)
    torch.nn.init.constant_(network.head.weight, float("nan"))
    return network

class WithNotes(torch.nn.Identity):
    def get_extra_state(self):
        return {"no": "tensor"}

def unsaveable(**arguments):
    network = narrow(**arguments)
    network.encoder.extractor.maxpool = WithNotes()
    return network

class Forgetful(torch.nn.Module):
    steps = 0
    def forward(self, x):
        self.steps += self.training
        return x * (1 + self.steps)

def forgetful(**arguments):
    network = narrow(**arguments)
    network.encoder.extractor.maxpool = Forgetful()
    return network

def drawing(**arguments):
    network = narrow(**arguments)
    network.encoder.register_forward_hook(lambda m, i, o: o + torch.rand_like(o) * m.training)
    return network
"""


@pytest.fixture
def attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Try:
    """Run the preflight of a study in a folder with plug-ins."""
    (tmp_path / "odd_networks.py").write_text(NETWORKS)
    monkeypatch.chdir(tmp_path)

    def preflighted(study: Raw) -> ArtifactStore:
        plan = make_plan(Study.model_validate(study))
        store = ArtifactStore(tmp_path / "results" / "store")
        preflight(plan, plan.pending(store), store, tmp_path / "results")
        return store

    return preflighted


def alone(study: Raw, model: str) -> Raw:
    study["backbones"]["cnn"] = {"model": f"odd_networks:{model}"}
    study["configurations"] = [{"paradigm": "single", "student": "cnn"}]
    return study


def at_one_location(study: Raw, train: int, batch_size: int) -> Raw:
    """A CNN whose last map is 1 x 1."""
    study["data"] |= {"train": train}
    study["training"]["batch_size"] = batch_size
    study["backbones"]["cnn"]["output_stride"] = None
    study["configurations"] = [{"paradigm": "single", "student": "cnn"}]
    return study


def refused(attempt: Try, study: Raw) -> str:
    with pytest.raises(InputError) as raised:
        attempt(study)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def pairs_passed(store: ArtifactStore) -> int:
    return len(store.folder.joined(TRIED).listing())
