"""What a node of a cluster is asked before anything is scheduled there, and how it answers.

`answer` runs in a worker of that node and knows no Ray. Question and answer are plain values, so
that a node whose toolkit is another version still answers, and is found out. What a question does
not need is not loaded: PyTorch comes in with a plug-in that uses it, or with a GPU.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from reports.storage.locations import is_uri, local_path
from reports.storage.opening import open_folder
from studies.stages import environment as provenance
from wsss_core.data.file_hashes import file_hashes
from wsss_core.errors import InputError, one_line
from wsss_core.plugins import plugin_version, search_in

SECONDS_TO_SEE = 5.0
"""For how long a file that another machine wrote is looked for: some network file systems keep for
seconds what a folder held before."""

GPU_SECONDS = 90.0
"""For how long PyTorch may take to come up and name the GPUs of a node."""


class ExpectedFile(TypedDict):
    """A file as the driver has it."""

    bytes: int
    modified: int  # nanoseconds
    digest: str  # of its content, see `wsss_core.data.file_hashes`


class HubFile(TypedDict):
    """Where timm looks for pretrained weights: a repository of the hub, or a URL's file name."""

    repository: str | None
    revision: str | None
    file: str | None


class Question(TypedDict):
    """What every node is asked.

    Attributes:
        import_path: a folder that is searched for plug-ins too.
        plugins: names of plug-ins.
        folders: "results" and "store" -> path or URI.
        token: a file in each of the folders, whose content is its own name.
        files: path -> the driver's file.
        pretrained: what timm calls the weights -> where it looks for them.
        gpus: whether to ask PyTorch for GPUs.
        compiler: whether networks are to be compiled.

    """

    import_path: str
    plugins: list[str]
    folders: dict[str, str]
    token: str
    files: dict[str, ExpectedFile]
    pretrained: dict[str, HubFile]
    gpus: bool
    compiler: bool


class CodeFacts(TypedDict):
    """What computes: `packages` as `studies.stages.environment.versions`, Python included."""

    version: str
    source: str
    revision: str | None
    packages: dict[str, str]


class FolderFacts(TypedDict):
    """How a node finds a folder; `error` is None if it read the driver's file and wrote its own."""

    error: str | None
    free: int | None  # bytes; None of a URI


class Gpu(TypedDict):
    """A GPU as PyTorch sees it; memory in bytes."""

    name: str
    total: int
    free: int


class Answer(TypedDict):
    """What a node answers.

    Attributes:
        started: its clock when it began, in seconds of the epoch.
        ended: its clock at the end.
        code: its versions.
        folders: by the names of the question.
        plugins: name -> version.
        plugin_errors: name -> why it cannot be imported.
        files: path -> what is wrong with it; without those that are as expected.
        to_download: pretrained weights that its cache lacks.
        offline: whether it is told not to download.
        gpus: as PyTorch sees them.
        gpu_error: why PyTorch sees none.
        compilers: of "C" and "C++" those that PyTorch would find.

    """

    started: float
    ended: float
    code: CodeFacts
    folders: dict[str, FolderFacts]
    plugins: dict[str, str]
    plugin_errors: dict[str, str]
    files: dict[str, str]
    to_download: list[str]
    offline: bool
    gpus: list[Gpu]
    gpu_error: str | None
    compilers: list[str]


def answer(question: Question, reply: str) -> Answer:
    """Look around on this node.

    Args:
        question: what the driver wants to know.
        reply: the name of the file that this node writes to each folder; its content is its name.

    """
    started = time.time()
    search_in(question["import_path"])
    plugins: dict[str, str] = {}
    plugin_errors: dict[str, str] = {}
    for name in question["plugins"]:
        try:
            plugins[name] = plugin_version("plug-in", name)
        except InputError as error:
            plugin_errors[name] = str(error)
    gpus, gpu_error = see_gpus() if question["gpus"] else ([], None)
    return {
        "started": started,
        "code": code_facts(),
        "folders": {
            name: _folder_facts(where, question["token"], reply)
            for name, where in question["folders"].items()
        },
        "plugins": plugins,
        "plugin_errors": plugin_errors,
        "files": {
            path: wrong
            for path, expected in question["files"].items()
            if (wrong := compare_file(Path(path), expected)) is not None
        },
        "to_download": [
            name for name, file in question["pretrained"].items() if not is_cached(file)
        ],
        "offline": bool(question["pretrained"]) and _offline(),
        "gpus": gpus,
        "gpu_error": gpu_error,
        "compilers": _compilers(),
        "ended": time.time(),
    }


# As Triton looks for one, for a GPU, and PyTorch's Inductor for a CPU: what the environment names,
# or else one of those.
_COMPILERS = (("C", "CC", ("gcc", "clang")), ("C++", "CXX", ("g++",)))


def _compilers() -> list[str]:
    found = []
    for language, variable, names in _COMPILERS:
        named = os.environ.get(variable, "").split()[:1]
        if any(shutil.which(name) for name in named or names):
            found.append(language)
    return found


def code_facts() -> CodeFacts:
    """The versions of this process's toolkit and of what it computes with."""
    return {
        "version": provenance.package_version(),
        "source": provenance.source_digest(),
        "revision": provenance.code_revision(),
        "packages": json.loads(provenance.versions()),
    }


def _folder_facts(where: str, token: str, reply: str) -> FolderFacts:
    free = None
    try:
        if not is_uri(where):
            path = local_path(where)
            # Asked for first: a folder that is away is waited for, and one that a node lacks
            # must not be made there.
            if not path.is_dir():
                return {"error": "does not exist there", "free": None}
            free = shutil.disk_usage(path).free
        folder = open_folder(where)
        if not sees(where, token):
            return {"error": "is another folder there: it lacks the driver's file", "free": free}
        folder.write(reply, reply.encode())
    except (OSError, InputError) as error:
        said = one_line(error, 300)
        return {"error": f"cannot be used there: {type(error).__name__}: {said}", "free": free}
    return {"error": None, "free": free}


def sees(where: str, token: str) -> bool:
    """Whether a folder holds a file whose content is its name; looks for `SECONDS_TO_SEE`."""
    folder = open_folder(where)
    deadline = time.monotonic() + SECONDS_TO_SEE
    while True:
        with contextlib.suppress(FileNotFoundError):
            return folder.read(token) == token.encode()
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)


def compare_file(file: Path, expected: ExpectedFile) -> str | None:
    """What is wrong with a node's copy of a file, None if nothing is.

    A file of the same size and time of change is taken for the driver's own, seen through shared
    storage or copied with its times. Any other is hashed, however large (about a second a GB):
    trials are known by the hash of their weights, and a run with others would be filed as theirs.
    """
    try:
        state = file.stat()
        if state.st_size != expected["bytes"]:
            return f"has {state.st_size} bytes, the driver's {expected['bytes']}"
        if state.st_mtime_ns == expected["modified"]:
            return None
        return None if file_hashes([file]) == [expected["digest"]] else "differs from the driver's"
    except FileNotFoundError:
        return "does not exist there"
    except (OSError, InputError) as error:
        return f"cannot be read there: {error}"


def is_cached(file: HubFile) -> bool:
    """Whether pretrained weights lie in this machine's cache, where timm would look for them."""
    if file["repository"] is not None:
        from huggingface_hub import try_to_load_from_cache

        names = [file["file"]] if file["file"] else ["model.safetensors", "pytorch_model.bin"]
        return any(
            isinstance(
                try_to_load_from_cache(file["repository"], name, revision=file["revision"]), str
            )
            for name in names
        )
    import torch

    return file["file"] is None or Path(torch.hub.get_dir(), "checkpoints", file["file"]).is_file()


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


_LIST_GPUS = """
import json, torch
torch.cuda.init()
gpus = []
for number in range(torch.cuda.device_count()):
    try:
        free, total = torch.cuda.mem_get_info(number)
    except RuntimeError:  # another process has taken all of it
        free, total = 0, torch.cuda.get_device_properties(number).total_memory
    gpus.append({"name": torch.cuda.get_device_name(number), "total": total, "free": free})
print(json.dumps(gpus))
"""


def see_gpus(python: Sequence[str] = (sys.executable,)) -> tuple[list[Gpu], str | None]:
    """The GPUs of this node as PyTorch sees them, or why it sees none.

    Asked in a process of its own, which gives back the memory that looking at a GPU takes (some
    hundred MB each). No share of a GPU is asked of Ray for it: that would wait for whoever holds
    the GPU. `nvidia-smi` would not tell whether PyTorch can use what it lists.

    Args:
        python: the interpreter and its options.

    """
    environment = dict(os.environ)
    # Some releases of Ray hide all GPUs from a task that asks for none.
    if environment.get("CUDA_VISIBLE_DEVICES") == "":
        del environment["CUDA_VISIBLE_DEVICES"]
    try:
        ended = subprocess.run(
            [*python, "-c", _LIST_GPUS],
            env=environment, capture_output=True, text=True, timeout=GPU_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return [], f"no answer within {GPU_SECONDS:.0f} s"
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
        return [], lines[-1][:300]
    gpus: list[Gpu] = json.loads(ended.stdout.splitlines()[-1])
    return gpus, None
