"""What a plan needs of every node: weights of what has to run, and what trials need of a GPU."""

import copy
import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import timm
from safetensors.torch import save_file

from reports.ledger.parts import write_part
from studies.cluster.checks.base import NodeCheck
from studies.cluster.checks.code import CompilerCheck
from studies.cluster.checks.files import ExpectedFile, FilesCheck, HubCheck, HubFile
from studies.cluster.checks.folders import FoldersCheck
from studies.cluster.checks.gpus import GpuCheck
from studies.cluster.plan_checks import checks_for_plan
from studies.planning.chains import CamScoring
from studies.planning.job import TrainingJob
from studies.planning.plan import Plan
from studies.planning.planner import make_plan
from studies.spec.study import Study
from studies.stages.handover import RunContext
from wsss_core.data.file_hashes import file_hashes

Raw = dict[str, Any]
Checks = dict[type[NodeCheck[Any]], Any]
CONTEXT = RunContext(
    "run", "s3://bucket/store", "/results", "/here", CamScoring("min_max", "none", 0, 32)
)


def planned(study: Raw) -> tuple[Plan, list[TrainingJob]]:
    plan = make_plan(Study.model_validate(study))
    return plan, list(plan.jobs.values())


def checks(plan: Plan, jobs: list[TrainingJob], gpus: float = 0.0, **context: Any) -> Checks:
    """The checks of every node, by their kinds."""
    return {type(c): c for c in checks_for_plan(plan, jobs, replace(CONTEXT, **context), gpus)}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    file = tmp_path / "cnn.safetensors"
    model = timm.create_model("resnet18", channels=[4, 8, 16, 32])
    save_file(dict(model.state_dict()), file)
    os.utime(file, ns=(5, 5))
    return file


def test_weights_files_are_asked_for_with_size_time_and_hash(tiny: Raw, weights: Path) -> None:
    tiny["backbones"]["cnn"]["weights"] = str(weights)
    asked = checks(*planned(tiny))
    (digest,) = file_hashes([weights])
    assert asked[FilesCheck].files == {
        str(weights): ExpectedFile(weights.stat().st_size, 5, digest)
    }
    assert HubCheck not in asked
    assert asked[FoldersCheck].folders == {"results": "/results", "store": "s3://bucket/store"}


def test_a_teacher_trained_before_is_not_asked_for_its_weights_again(
    taught: Raw, weights: Path
) -> None:
    taught["backbones"]["cnn"]["weights"] = str(weights)
    plan, jobs = planned(taught)
    students = [job for job in jobs if job.parent is not None]
    assert checks(plan, students)[FilesCheck].files == {}
    assert checks(plan, jobs)[FilesCheck].files.keys() == {str(weights)}


def test_co_training_needs_the_weights_of_both(tiny: Raw, weights: Path) -> None:
    tiny["backbones"]["cnn"]["weights"] = str(weights)
    tiny["configurations"] = tiny["configurations"][3:]
    plan, jobs = planned(tiny)
    assert [job.settings["paradigm"] for job in jobs] == ["co-training"]
    assert checks(plan, jobs)[FilesCheck].files.keys() == {str(weights)}


def test_pretrained_weights_are_asked_for_by_where_timm_gets_them(tiny: Raw) -> None:
    tiny["backbones"]["cnn"] |= {"weights": "pretrained", "options": {}}
    asked = checks(*planned(tiny))
    assert asked[FilesCheck].files == {}
    assert asked[HubCheck].weights == {
        "pretrained resnet18.a1_in1k": HubFile("timm/resnet18.a1_in1k", None, None)
    }


def test_weights_that_the_hub_lacks_are_a_file_of_pytorch_s_cache() -> None:
    for name in timm.list_pretrained():
        config = timm.get_pretrained_cfg(name)
        if config.url and not config.hf_hub_id:
            assert HubFile.of(name) == (None, None, config.url.split("/")[-1])
            return
    pytest.skip("every model of this timm lies on the hub")


def test_a_compiler_is_needed_where_some_network_is_to_be_compiled(tiny: Raw) -> None:
    assert CompilerCheck not in checks(*planned(tiny))
    tiny["configurations"][1]["training"] = {"compile": True}
    assert CompilerCheck in checks(*planned(tiny))


def test_the_token_is_another_one_every_time_and_no_reader_sees_it(tiny: Raw) -> None:
    plan, jobs = planned(tiny)
    tokens = {checks(plan, jobs)[FoldersCheck].token for _ in range(20)}
    assert len(tokens) == 20
    assert all(token.startswith(".") for token in tokens)


def measured(results: Path, settings: Raw, device: str, peak: int, key: str) -> None:
    row = {
        "trial_key": key, "configuration": "c", "seed": 0, "status": "ok",
        "settings": json.dumps(settings), "package_version": "0", "packages": "{}",
        "device": device, "peak_memory_bytes": peak, "started_at": datetime.now(UTC),
    }  # fmt: skip
    write_part(results, "trials", key, [row])


def test_the_need_of_a_share_is_the_most_that_trials_like_those_took_on_a_gpu(
    tiny: Raw, tmp_path: Path
) -> None:
    tiny["resources"] |= {"gpus": 0.25, "co-training": {"gpus": 1}}
    plan, jobs = planned(tiny)
    single, alike = jobs[0].settings, copy.deepcopy(jobs[0].settings)
    alike["seed"] = 7
    alike["training"]["epochs"] = 99
    larger = copy.deepcopy(single)
    larger["training"]["batch_size"] *= 2
    measured(tmp_path, single, "NVIDIA L4", 100, "a")
    measured(tmp_path, alike, "NVIDIA L4", 300, "b")
    measured(tmp_path, larger, "NVIDIA L4", 9000, "c")
    measured(tmp_path, single, "x86_64 CPU, 1 thread(s)", 9000, "d")
    found = checks(plan, jobs, 1.0, results=str(tmp_path))
    assert found[GpuCheck].needs == {0.25: 300, 1.0: 0}


def test_trials_that_ask_for_no_gpu_need_nothing_of_one(tiny: Raw, tmp_path: Path) -> None:
    plan, jobs = planned(tiny)
    assert GpuCheck not in checks(plan, jobs, 0.0, results=str(tmp_path))
    assert checks(plan, jobs, 1.0, results=str(tmp_path))[GpuCheck].needs == {1.0: 0}
