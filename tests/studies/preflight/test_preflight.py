"""What is tried of every pair of networks before anything is trained, and how it is refused."""

import errno
import logging
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from reports.storage import StorageError
from studies.planning.planner import make_plan
from studies.preflight import crash_guard, network_check, preflight
from studies.preflight.network_check import last_batch, other_batch_size
from studies.spec.study import Study
from studies.store import SCRATCH, TRIED
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


def test_a_last_batch_of_one_image_at_one_location_names_the_ways_out(
    tiny: Raw, attempt: Try
) -> None:
    said = refused(attempt, at_one_location(tiny, 17, 16))
    assert said.startswith(
        "CNN alone: 17 training images in batches of batch_size 16 leave a last batch of 1 image"
    )
    for way in ("another batch_size (15)", "one training image more or less", "data.size"):
        assert way in said


def test_batches_of_one_image_are_refused_where_batchnorm_cannot_train(
    tiny: Raw, attempt: Try
) -> None:
    said = refused(attempt, at_one_location(tiny, 4, 1))
    assert "batch_size 1 makes steps of a single one of 4 training images" in said
    assert "batch_size 2 or more" in said


@pytest.mark.parametrize(("train", "batch_size"), [(18, 16), (17, 15), (16, 16)])
def test_a_last_batch_of_more_images_passes(
    tiny: Raw, attempt: Try, train: int, batch_size: int
) -> None:
    assert pairs_passed(attempt(at_one_location(tiny, train, batch_size))) == 1


def test_a_last_image_passes_where_its_map_is_larger(tiny: Raw, attempt: Try) -> None:
    study = at_one_location(tiny, 17, 16)
    study["backbones"]["cnn"]["output_stride"] = 8
    assert pairs_passed(attempt(study)) == 1


def test_the_half_size_pass_of_pcm_is_tried_too(tiny: Raw, attempt: Try) -> None:
    study = at_one_location(tiny, 17, 16)
    study["data"]["size"] = 64
    assert pairs_passed(attempt(study)) == 1
    study["backbones"]["cnn"]["head"] = "pcm"
    assert "17 training images in batches of batch_size 16" in refused(attempt, study)


@pytest.mark.parametrize("count", range(2, 40))
@pytest.mark.parametrize("batch_size", [2, 3, 16, 50])
def test_the_size_that_is_advised_leaves_no_image_alone(count: int, batch_size: int) -> None:
    other = other_batch_size(count, batch_size)
    sizes = [len(range(start, min(start + other, count))) for start in range(0, count, other)]
    assert min(sizes) > 1
    assert last_batch(count, other) == sizes[-1]


@pytest.mark.parametrize(
    ("model", "how"), [("killed", "SIGKILL"), ("aborting", "SIGABRT"), ("leaving", "exit code 3")]
)
def test_a_network_that_ends_its_process_is_named_and_the_others_are_tried(
    tiny: Raw, attempt: Try, tmp_path: Path, model: str, how: str
) -> None:
    study = alone(tiny, model)
    study["configurations"].append({"paradigm": "single", "student": "vit"})
    said = refused(attempt, study)
    assert said.startswith(f"cnn alone (odd_networks:{model}): the process")
    assert how in said
    assert pairs_passed(ArtifactStore(tmp_path / "results" / "store")) == 1
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    "model", ["sleeping", pytest.param("standing_still", marks=pytest.mark.ci)]
)
def test_a_network_that_hangs_is_named_and_the_others_are_tried(
    tiny: Raw, attempt: Try, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.setenv(crash_guard.STEP_LIMIT, "4")
    study = alone(tiny, model)
    study["configurations"].append({"paradigm": "single", "student": "vit"})
    said = refused(attempt, study)
    assert said.startswith(f"cnn alone (odd_networks:{model}): its networks were not built")
    assert "within 4 s" in said
    assert "WSSS_PREFLIGHT_TIMEOUT" in said
    assert pairs_passed(ArtifactStore(tmp_path / "results" / "store")) == 1
    assert multiprocessing.active_children() == []


def test_a_time_limit_that_is_no_number_is_refused(
    tiny: Raw, attempt: Try, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(crash_guard.STEP_LIMIT, "4 min")
    assert "WSSS_PREFLIGHT_TIMEOUT=4 min: expected a number" in refused(attempt, tiny)


def test_a_slow_pair_is_named_in_the_log(
    tiny: Raw, attempt: Try, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(crash_guard, "SLOW_S", 0.01)
    assert pairs_passed(attempt(alone(tiny, "narrow"))) == 1
    assert "networks: cnn alone (odd_networks:narrow) is tried for 0 s by now" in caplog.text


def test_a_thread_that_a_network_leaves_behind_is_not_waited_for(tiny: Raw, attempt: Try) -> None:
    began = time.monotonic()
    assert pairs_passed(attempt(alone(tiny, "with_a_thread_that_stays"))) == 1
    assert time.monotonic() - began < 60


NO_SPACE = "Error while serializing: I/O error: No space left on device (os error 28)"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (SafetensorError(NO_SPACE), "no space left on the storage"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "no space left on the storage"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (SafetensorError("I/O error: Read-only file system (os error 30)"), "Read-only file"),
    ],
)
@pytest.mark.parametrize("step", ["save_network", "restore_network"])
def test_a_storage_that_fails_is_no_fault_of_a_network(
    tiny: Raw,
    attempt: Try,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    error: Exception,
    expected: str,
) -> None:
    def fails(*_: Any) -> None:
        raise error

    monkeypatch.setattr(network_check, step, fails)
    with pytest.raises(StorageError, match=expected) as raised:
        attempt(alone(tiny, "narrow"))
    assert str(raised.value).startswith(f"{tmp_path}/results/store/{SCRATCH}")
    assert "\n" not in str(raised.value)


def test_a_process_without_memory_is_no_fault_of_the_storage(
    tiny: Raw, attempt: Try, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(network_check, "save_network", fails)
    assert "its student cannot be saved" in refused(attempt, alone(tiny, "narrow"))


def test_no_space_for_the_folder_of_the_trial_is_said_as_such(
    tiny: Raw, attempt: Try, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_inodes(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(crash_guard.tempfile, "TemporaryDirectory", no_inodes)
    with pytest.raises(StorageError, match="no space left on the storage"):
        attempt(alone(tiny, "narrow"))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("not_a_number", "its first training step fails: the loss became nan"),
        ("unsaveable", "its student cannot be saved"),
        ("forgetful", "its student makes other maps after it was saved and read back"),
        ("greedy", "runs out of memory even with one image at a time"),
        ("faulty", "its first training step on images of 32 px fails: KeyError: 'gamma'"),
    ],
)
def test_what_fails_in_the_first_step_is_one_line(
    tiny: Raw, attempt: Try, model: str, expected: str
) -> None:
    assert expected in refused(attempt, alone(tiny, model))


def test_a_network_that_draws_in_training_alone_passes(tiny: Raw, attempt: Try) -> None:
    assert pairs_passed(attempt(alone(tiny, "drawing"))) == 1


def test_what_passed_is_not_tried_again_and_what_is_new_is(
    tiny: Raw, attempt: Try, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert pairs_passed(attempt(tiny)) == 4
    assert "networks: 4 pairs tried" in caplog.text
    caplog.clear()
    tiny["seeds"] = [0, 1]
    tiny["training"]["learning_rate"] = 1e-4
    with monkeypatch.context() as patched:
        patched.setattr(crash_guard, "_run_in_child", None)
        assert pairs_passed(attempt(tiny)) == 4
    assert caplog.text == ""
    tiny["configurations"].append({**tiny["configurations"][2], "level": "channel"})
    assert pairs_passed(attempt(tiny)) == 5
    assert "networks: 1 pairs tried" in caplog.text


@pytest.mark.parametrize("change", [{"batch_size": 5}, {"precision": "bf16"}])
def test_another_first_step_is_tried(tiny: Raw, attempt: Try, change: Raw) -> None:
    attempt(tiny)
    tiny["training"] |= change
    assert pairs_passed(attempt(tiny)) == 8


def test_other_code_of_a_network_is_tried(
    tiny: Raw, attempt: Try, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt(tiny)
    monkeypatch.setattr("studies.store.origin.method_digest", lambda: "another")
    assert pairs_passed(attempt(tiny)) == 8


def test_the_random_numbers_of_what_follows_stay_as_they_were(tiny: Raw, attempt: Try) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    attempt(tiny)
    assert torch.equal(torch.get_rng_state(), before)


def test_threads_that_this_process_has_used_do_not_stop_its_child(tiny: Raw, attempt: Try) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        large = torch.rand(600, 600, requires_grad=True)
        (large @ large).sum().backward()
        assert pairs_passed(attempt(tiny)) == 4
    finally:
        torch.set_num_threads(threads)


def test_a_process_that_cannot_fork_any_more_tries_in_a_fresh_one(tiny: Raw, attempt: Try) -> None:
    assert pairs_passed(attempt(alone(tiny, "trained_beside_a_gpu"))) == 1


def test_a_process_whose_gpu_is_in_use_tries_in_a_fresh_one(
    tiny: Raw, attempt: Try, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert pairs_passed(attempt(alone(tiny, "narrow"))) == 1
    assert "SIGKILL" in refused(attempt, alone(tiny, "killed"))


def test_warnings_of_networks_reach_the_run(
    tiny: Raw, attempt: Try, caplog: pytest.LogCaptureFixture
) -> None:
    attempt(alone(tiny, "warning"))
    assert ("wsss_core.own", logging.WARNING, "149 of 150 at random") in caplog.record_tuples


def test_nothing_but_names_is_left_in_the_store(tiny: Raw, attempt: Try) -> None:
    store = attempt(tiny)
    there = {path.name for path in store.root.iterdir()} - {".wsss"}
    assert there == {"images", "files", SCRATCH, TRIED}
    assert not any((store.root / SCRATCH).iterdir())


def test_a_run_is_refused_before_it_trains(
    tiny: Raw, wsss: Any, write_study: Any, tmp_path: Path
) -> None:
    file = write_study(at_one_location(tiny, 17, 16))
    ended = wsss("run", file, "--in-process", "--results", tmp_path / "results")
    assert ended.code == 2
    assert ended.err.startswith("wsss: CNN alone: 17 training images in batches of")
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "results" / "store" / "train").exists()
