"""What a node finds when it looks around: folders, files, caches, GPUs."""

import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch

import studies.cluster.checks.folders
import studies.cluster.checks.gpus
from reports.storage.opening import open_folder
from studies.cluster.checks.base import Finding
from studies.cluster.checks.code import CompilerCheck, PluginsCheck
from studies.cluster.checks.files import ExpectedFile, FilesCheck, HubCheck, HubFile
from studies.cluster.checks.folders import FolderFacts, FoldersCheck
from studies.cluster.checks.gpus import Gpu, GpuFacts, see_gpus
from wsss_core.data.file_hashes import file_hashes
from wsss_core.fetched_weights import WEIGHTS_FOLDER, keep

TOKEN = ".node-check-1"
NODE = "0123456789abcdef0123"
FILE_OF_NODE = ".node-check-1-0123456789abcdef"


def probed(where: Path | str) -> FolderFacts:
    """What a node finds of one folder."""
    return FoldersCheck({"results": str(where)}, TOKEN).probe(NODE)["results"]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies.cluster.checks.folders, "SECONDS_TO_SEE", 0.0)


@pytest.mark.parametrize("where", ["local", "memory"])
def test_a_shared_folder_is_read_and_gets_the_node_s_own_file(tmp_path: Path, where: str) -> None:
    place = str(tmp_path) if where == "local" else f"memory://{tmp_path.name}"
    folder = open_folder(place)
    folder.write(TOKEN, TOKEN.encode())
    found = probed(place)
    assert found.error is None
    assert folder.read(FILE_OF_NODE) == FILE_OF_NODE.encode()
    # Whatever the disk of this machine holds, it is a number of bytes; of a URI nothing is known.
    assert (found.free is None) == (where == "memory")


def test_a_folder_of_the_same_name_without_the_driver_s_file_is_another_one(tmp_path: Path) -> None:
    assert probed(tmp_path).error == "is another folder there: it lacks the driver's file"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_an_older_file_of_that_name_is_another_one(tmp_path: Path) -> None:
    (tmp_path / TOKEN).write_text("something else")
    assert probed(tmp_path).error == "is another folder there: it lacks the driver's file"


def test_a_folder_that_a_node_lacks_is_not_made_there(tmp_path: Path) -> None:
    where = tmp_path / "results"
    assert probed(where) == FolderFacts("does not exist there", None)
    assert not where.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    (tmp_path / TOKEN).write_text(TOKEN)
    tmp_path.chmod(0o500)
    assert str(probed(tmp_path).error).startswith("cannot be used there: PermissionError: ")


def test_a_file_system_that_is_not_installed_on_a_node_says_so() -> None:
    assert "nothere:// is no file system known here" in str(probed("nothere://a/b").error)


def test_the_driver_s_file_and_all_nodes_files_are_gone_in_the_end(tmp_path: Path) -> None:
    check = FoldersCheck({"results": str(tmp_path / "results"), "store": str(tmp_path / "store")})
    with check.prepared([NODE]):
        assert [facts.error for facts in check.probe(NODE).values()] == [None, None]
        assert (tmp_path / "store" / check.token).read_text() == check.token
    assert not list(tmp_path.rglob(f"{check.token}*"))


def test_weights_are_the_driver_s_by_time_of_change_or_by_content(tmp_path: Path) -> None:
    driver, copied, shared, shorter, changed = (tmp_path / name for name in "abcde")
    driver.write_bytes(b"weights")
    expected = ExpectedFile.of(driver, file_hashes([driver])[0])
    copied.write_bytes(b"weights")
    os.utime(copied, ns=(1, 1))
    shorter.write_bytes(b"weight")
    changed.write_bytes(b"Weights")
    os.utime(changed, ns=(1, 1))
    # With the size and the time of the driver's file none is read, so its content cannot be known.
    shared.write_bytes(b"WEIGHTS")
    os.utime(shared, ns=(1, expected.modified))
    files = [driver, copied, shared, shorter, changed, tmp_path / "f"]
    found = FilesCheck({str(file): expected for file in files}).probe(NODE)
    assert found == [
        Finding(f"file {shorter} has 6 bytes, the driver's has 7"),
        Finding(f"file {changed} differs from the driver's"),
        Finding(f"file {tmp_path / 'f'} does not exist there"),
    ]


def test_pretrained_weights_are_looked_for_where_timm_would_find_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    hub = HubFile("timm/resnet18.a1_in1k", None, None)
    url = HubFile(None, None, "net-0123.pth")
    assert [hub.is_cached(), url.is_cached()] == [False, False]
    # The layout of the hub's cache: huggingface.co/docs/huggingface_hub/guides/manage-cache
    repository = tmp_path / "models--timm--resnet18.a1_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "snapshots" / "abc" / "model.safetensors").touch()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "net-0123.pth").touch()
    assert [hub.is_cached(), url.is_cached()] == [True, True]
    assert not hub._replace(revision="v2").is_cached()
    assert not hub._replace(file="other.bin").is_cached()
    lacking = HubCheck({"here": hub, "gone": hub._replace(revision="v2")})
    monkeypatch.setenv("HOME", str(tmp_path))  # holds no fetched weights
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    download = "weights 'gone' are not in its cache; its first trial will download them"
    assert lacking.probe(NODE) == [Finding(download, problem=False)]
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    forbidden = "weights 'gone' are not in its cache, and HF_HUB_OFFLINE forbids the download"
    assert lacking.probe(NODE) == [Finding(forbidden)]


def test_weights_that_were_fetched_ahead_are_looked_for_in_the_node_s_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WEIGHTS_FOLDER, str(tmp_path / "there"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    check = HubCheck({"pretrained net.a1": HubFile("timm/net.a1", None, None)})
    (lacking,) = check.probe(NODE)
    assert lacking.problem
    assert "there does not hold net.a1; fetch it where there is a network: " in lacking.text
    (tmp_path / "net.safetensors").write_bytes(b"weights")
    entry = keep(tmp_path / "net.safetensors", "net.a1", tmp_path / "there")
    assert check.probe(NODE) == []
    entry.write_bytes(b"weightz")
    (corrupt,) = check.probe(NODE)
    assert corrupt.problem
    assert f"{entry} is not what was fetched" in corrupt.text


def test_compilers_are_those_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    assert CompilerCheck(gpus=True).probe(NODE) == []
    for name, there in (("clang", ["C"]), ("mine", ["C"]), ("g++", ["C", "C++"])):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
        assert CompilerCheck(gpus=True).probe(NODE) == there
    monkeypatch.setenv("CXX", "another")
    assert CompilerCheck(gpus=True).probe(NODE) == ["C"]
    monkeypatch.setenv("CXX", "mine -O2")
    assert CompilerCheck(gpus=True).probe(NODE) == ["C", "C++"]


def test_a_plug_in_of_another_version_or_that_cannot_be_imported_is_found(tmp_path: Path) -> None:
    (tmp_path / "probe_losses.py").write_text("VERSION = 3\ndef hinge(): ...\n")
    asked = {"probe_losses:hinge": "3", "probe_no:loss": "1"}
    (error,) = PluginsCheck(asked, str(tmp_path)).probe(NODE)
    assert error.problem
    begins = "plug-in 'probe_no:loss': module 'probe_no' cannot be imported: "
    assert error.text.startswith(begins)
    other = "has version 3 of probe_losses:hinge, the driver has version 2"
    assert PluginsCheck({"probe_losses:hinge": "2"}, ".").probe(NODE) == [Finding(other)]


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
    assert see_gpus() == GpuFacts([Gpu("card 0", 20, 10), Gpu("card 1", 20, 11)])


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
    assert see_gpus() == GpuFacts([Gpu("card 0", 20, 0), Gpu("card 1", 20, 0)])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_pytorch_s_own_reason_is_the_answer() -> None:
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[-1]
    found = see_gpus()
    assert found.gpus == []
    assert reason in str(found.error)


def test_an_interpreter_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies.cluster.checks.gpus, "GPU_SECONDS", 0.2)
    hanging = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert see_gpus(hanging) == GpuFacts([], "no answer within 0 s")


def test_probes_load_pytorch_only_if_a_check_needs_it() -> None:
    code = (
        "import sys\n"
        "from studies.cluster.checks.clock import ClockCheck\n"
        "from studies.cluster.checks.code import CodeCheck, CompilerCheck, PluginsCheck\n"
        "from studies.cluster.checks.code import code_facts\n"
        "from studies.cluster.checks.files import FilesCheck, HubCheck\n"
        "from studies.cluster.checks.folders import FoldersCheck\n"
        "from studies.cluster.checks.gpus import GpuCheck\n"
        "CodeCheck(code_facts()).probe('n'), ClockCheck().probe('n'), GpuCheck()\n"
        "for check in FoldersCheck, FilesCheck, HubCheck:\n    check({}).probe('n')\n"
        "PluginsCheck({}, '.').probe('n'), CompilerCheck(gpus=True).probe('n')\n"
        "assert sys.modules.keys().isdisjoint({'torch', 'timm', 'ray', 'pandas'})\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=True)
