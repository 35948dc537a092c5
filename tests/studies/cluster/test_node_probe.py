"""What a node finds when it looks around: folders, files, caches, GPUs."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch

import studies.cluster.probe
from reports.storage.opening import open_folder
from studies.cluster.probe import answer, compare_file, is_cached, see_gpus
from studies.cluster.question import expected_file
from wsss_core.data.file_hashes import file_hashes

TOKEN = ".node-check-1"


def question(**changes: Any) -> Any:
    asked = {
        "import_path": ".", "plugins": [], "folders": {}, "token": TOKEN, "files": {},
        "pretrained": {}, "gpus": False, "compiler": False,
    }  # fmt: skip
    return {**asked, **changes}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies.cluster.probe, "SECONDS_TO_SEE", 0.0)


@pytest.mark.parametrize("where", ["local", "memory"])
def test_a_shared_folder_is_read_and_gets_the_node_s_own_file(tmp_path: Path, where: str) -> None:
    place = str(tmp_path) if where == "local" else f"memory://{tmp_path.name}"
    folder = open_folder(place)
    folder.write(TOKEN, TOKEN.encode())
    found = answer(question(folders={"results": place}), "mine")["folders"]["results"]
    assert found["error"] is None
    assert folder.read("mine") == b"mine"
    # Whatever the disk of this machine holds, it is a number of bytes; of a URI nothing is known.
    assert (found["free"] is None) == (where == "memory")


def test_a_folder_of_the_same_name_without_the_driver_s_file_is_another_one(tmp_path: Path) -> None:
    found = answer(question(folders={"store": str(tmp_path)}), "mine")["folders"]["store"]
    assert found["error"] == "is another folder there: it lacks the driver's file"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_an_older_file_of_that_name_is_another_one(tmp_path: Path) -> None:
    (tmp_path / TOKEN).write_text("something else")
    found = answer(question(folders={"store": str(tmp_path)}), "mine")["folders"]["store"]
    assert found["error"] == "is another folder there: it lacks the driver's file"


def test_a_folder_that_a_node_lacks_is_not_made_there(tmp_path: Path) -> None:
    where = tmp_path / "results"
    found = answer(question(folders={"results": str(where)}), "mine")["folders"]["results"]
    assert found == {"error": "does not exist there", "free": None}
    assert not where.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    (tmp_path / TOKEN).write_text(TOKEN)
    tmp_path.chmod(0o500)
    found = answer(question(folders={"results": str(tmp_path)}), "mine")["folders"]["results"]
    assert str(found["error"]).startswith("cannot be used there: PermissionError: ")


def test_a_file_system_that_is_not_installed_on_a_node_says_so() -> None:
    found = answer(question(folders={"results": "nothere://a/b"}), "mine")["folders"]["results"]
    assert "nothere:// is no file system known here" in str(found["error"])


def test_weights_are_the_driver_s_by_time_of_change_or_by_content(tmp_path: Path) -> None:
    driver, copied, shared, shorter, changed = (tmp_path / name for name in "abcde")
    driver.write_bytes(b"weights")
    expected = expected_file(driver, file_hashes([driver])[0])
    copied.write_bytes(b"weights")
    os.utime(copied, ns=(1, 1))
    shorter.write_bytes(b"weight")
    changed.write_bytes(b"Weights")
    os.utime(changed, ns=(1, 1))
    # With the size and the time of the driver's file none is read, so its content cannot be known.
    shared.write_bytes(b"WEIGHTS")
    os.utime(shared, ns=(1, expected["modified"]))
    found = [compare_file(file, expected) for file in (driver, copied, shared, shorter, changed)]
    assert found == [None, None, None, "has 6 bytes, the driver's 7", "differs from the driver's"]
    assert compare_file(tmp_path / "f", expected) == "does not exist there"


def test_pretrained_weights_are_looked_for_where_timm_would_find_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    hub: Any = {"repository": "timm/resnet18.a1_in1k", "revision": None, "file": None}
    url: Any = {"repository": None, "revision": None, "file": "net-0123.pth"}
    assert [is_cached(hub), is_cached(url)] == [False, False]
    # The layout of the hub's cache: huggingface.co/docs/huggingface_hub/guides/manage-cache
    repository = tmp_path / "models--timm--resnet18.a1_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "snapshots" / "abc" / "model.safetensors").touch()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "net-0123.pth").touch()
    assert [is_cached(hub), is_cached(url)] == [True, True]
    assert not is_cached({**hub, "revision": "v2"})
    assert not is_cached({**hub, "file": "other.bin"})
    lacking = question(pretrained={"here": hub, "gone": {**hub, "revision": "v2"}})
    assert answer(lacking, "mine")["to_download"] == ["gone"]


def test_compilers_are_those_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    assert answer(question(), "mine")["compilers"] == []
    for name, there in (("clang", ["C"]), ("mine", ["C"]), ("g++", ["C", "C++"])):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
        assert answer(question(), "mine")["compilers"] == there
    monkeypatch.setenv("CXX", "another")
    assert answer(question(), "mine")["compilers"] == ["C"]
    monkeypatch.setenv("CXX", "mine -O2")
    assert answer(question(), "mine")["compilers"] == ["C", "C++"]


def test_a_plug_in_s_version_or_why_it_cannot_be_imported_is_answered(tmp_path: Path) -> None:
    (tmp_path / "probe_losses.py").write_text("VERSION = 3\ndef hinge(): ...\n")
    asked = question(import_path=str(tmp_path), plugins=["probe_losses:hinge", "probe_no:loss"])
    found = answer(asked, "mine")
    assert found["plugins"] == {"probe_losses:hinge": "3"}
    (error,) = found["plugin_errors"].values()
    assert error.startswith("plug-in 'probe_no:loss': module 'probe_no' cannot be imported: ")


FAKE_TORCH = """
class cuda:
    init = staticmethod(lambda: print("a driver's greeting"))
    device_count = staticmethod(lambda: 2)
    mem_get_info = staticmethod(lambda number: (10 + number, 20))
    get_device_name = staticmethod(lambda number: f"card {number}")
"""


def test_gpus_are_what_pytorch_lists_even_if_ray_hid_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = "\nimport os\nassert 'CUDA_VISIBLE_DEVICES' not in os.environ\n"
    (tmp_path / "torch.py").write_text(FAKE_TORCH + check)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    listed = [
        {"name": "card 0", "total": 20, "free": 10},
        {"name": "card 1", "total": 20, "free": 11},
    ]
    assert see_gpus() == (listed, None)


def test_a_gpu_whose_memory_is_all_taken_is_listed_with_none_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = """
def all_taken(number):
    raise RuntimeError("CUDA error: out of memory")
class Card:
    total_memory = 20
cuda.mem_get_info = staticmethod(all_taken)
cuda.get_device_properties = staticmethod(lambda number: Card)
"""
    (tmp_path / "torch.py").write_text(FAKE_TORCH + full)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    gpus, said = see_gpus()
    assert gpus == [{"name": f"card {number}", "total": 20, "free": 0} for number in (0, 1)]
    assert said is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_pytorch_s_own_reason_is_the_answer() -> None:
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[-1]
    gpus, said = see_gpus()
    assert gpus == []
    assert reason in str(said)


def test_an_interpreter_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies.cluster.probe, "GPU_SECONDS", 0.2)
    hanging = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert see_gpus(hanging) == ([], "no answer within 0 s")


def test_looking_around_loads_pytorch_only_if_it_is_asked_for_it() -> None:
    code = (
        "import sys\nfrom studies.cluster.probe import answer\n"
        f"answer({question()!r}, 'mine')\nassert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=True)
