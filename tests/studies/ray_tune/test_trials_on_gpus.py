"""Trials on GPUs that Ray counts and that are not there: one that fails, and cores beside them."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from reports.ledger.parts import read_table

Raw = dict[str, Any]

pytestmark = pytest.mark.slow

DRIVER = """
import sys

import studies.cluster.ray_start
import studies.ray_tune.runner
from studies.cli.main import main

import ray


def trial(config, **given):
    import studies.ray_tune.runner
    import studies.ray_tune.trial

    studies.ray_tune.trial.WORK = "gpu_trial:run"
    studies.ray_tune.runner._tune_trial(config, **given)


if __name__ == "__main__":
    cpus, gpus = map(int, (sys.argv.pop(1), sys.argv.pop(1)))
    ray.init(
        address="local", num_cpus=cpus, num_gpus=gpus, object_store_memory=80 * 2**20,
        include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1",
    )
    studies.ray_tune.runner._tune_trial = trial
    # It would say, rightly, that PyTorch sees none of the GPUs that Ray lends.
    studies.ray_tune.runner.check_nodes = lambda *_, **__: None
    sys.exit(main(sys.argv[1:]))
"""

GPU_TRIAL = """
import dataclasses
import json
import os
import time

import studies.stages.job


def run(job, context, request):
    gpu = os.environ["CUDA_VISIBLE_DEVICES"]

    def fails(*_, **__):
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered")

    if gpu in os.environ["BROKEN"].split():
        studies.stages.job.train_job = fails
    began = {"gpu": gpu, "trial": time.time(), "process": os.getpid(), "share": request["GPU"]}
    with open(os.environ["LOG"], "a") as file:
        file.write(json.dumps(began) + "\\n")
    time.sleep(float(os.environ["SECONDS"]))
    outcome = studies.stages.job.run_with_share(job, context, request)
    if outcome.has_result:
        with open(os.environ["LOG"], "a") as file:
            file.write(json.dumps({"over": time.time(), "process": os.getpid()}) + "\\n")
    took = studies.stages.GpuMemory(2**30, 8 * 2**30)  # four fit
    return dataclasses.replace(outcome, gpu_memory=took) if outcome.has_result else outcome
"""
"""What the process of each trial does."""

OWN_STEP = """
import json
import os
import time

VERSION = 1


def slow(images, scores):
    began = time.time()
    time.sleep(6)
    with open(os.environ["LOG"], "a") as file:
        file.write(json.dumps({"walk": began, "ended": time.time()}) + "\\n")
    return scores
"""

Go = Callable[..., tuple[subprocess.CompletedProcess[str], list[Raw]]]


@pytest.fixture
def go(tmp_path: Path) -> Go:
    """Run a study with CPUs and GPUs, some of them broken; how it ended, and what was logged.

    Each trial takes some seconds longer than its training.
    """

    def run(study: Raw, cpus: int, gpus: int, broken: str = "", seconds: float = 0.0) -> Any:
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
        (tmp_path / "driver.py").write_text(DRIVER)
        (tmp_path / "gpu_trial.py").write_text(GPU_TRIAL)
        (tmp_path / "slow_step.py").write_text(OWN_STEP)
        log = tmp_path / "log"
        ended = subprocess.run(
            [sys.executable, "driver.py", str(cpus), str(gpus), "run", "study.yaml",
             "--results", "results"],
            cwd=tmp_path, text=True, capture_output=True, timeout=300, check=False,
            env={**os.environ, "WSSS_SIMULATED_GPUS": "1", "BROKEN": broken, "LOG": str(log),
                 "SECONDS": str(seconds), "RAY_AUTH_MODE": "disabled",
                 "PYTHONPATH": os.pathsep.join([str(Path.cwd()), str(tmp_path)])},
        )  # fmt: skip
        return ended, [json.loads(line) for line in log.read_text().splitlines()]

    return run


def test_a_gpu_that_fails_is_set_aside_and_its_trial_runs_on_another(
    go: Go, tiny: Raw, tmp_path: Path
) -> None:
    tiny["seeds"] = [0, 1, 2, 3]
    tiny["configurations"] = tiny["configurations"][:1]
    ended, log = go(tiny, cpus=2, gpus=2, broken="1")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert list(read_table(tmp_path / "results", "trials")["status"]) == ["ok"] * 4
    assert Counter(line["gpu"] for line in log if "gpu" in line) == {"0": 4, "1": 1}
    assert len({line["process"] for line in log}) == 5, "a process ran two trials"
    assert ended.stdout.count("GPU 1 of ") == 1
    assert "uncorrectable ECC error" in ended.stdout


def test_a_run_without_a_gpu_that_works_ends_and_records_no_trial_as_failed(
    go: Go, tiny: Raw, tmp_path: Path
) -> None:
    tiny["seeds"] = [0, 1, 2, 3]
    tiny["configurations"] = tiny["configurations"][:1]
    ended, log = go(tiny, cpus=2, gpus=2, broken="0 1")
    assert ended.returncode != 0
    assert "no GPU is left that can be used; the last: GPU " in ended.stderr
    assert "Traceback" not in ended.stderr
    assert Counter(line["gpu"] for line in log if "gpu" in line) == {"0": 1, "1": 1}
    assert read_table(tmp_path / "results", "trials").empty


def test_trials_are_packed_by_what_the_first_of_them_took(
    go: Go, tiny: Raw, tmp_path: Path
) -> None:
    tiny["seeds"] = [0, 1, 2, 3, 4]
    tiny["configurations"] = tiny["configurations"][:1]
    tiny["resources"] = {"gpus": "packed"}
    ended, log = go(tiny, cpus=4, gpus=1, seconds=3)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert list(read_table(tmp_path / "results", "trials")["status"]) == ["ok"] * 5
    begun = sorted((line for line in log if "trial" in line), key=lambda line: line["trial"])
    over = {line["process"]: line["over"] for line in log if "over" in line}
    assert [line["share"] for line in begun] == [1.0, 0.25, 0.25, 0.25, 0.25]
    assert over[begun[0]["process"]] <= begun[1]["trial"]
    assert over[begun[1]["process"]] > begun[3]["trial"], "they did not share the GPU"
    assert "4 trials a GPU: one like them took 1.0 GiB of it" in ended.stdout, ended.stdout


SEARCH = {
    "student": "vit",
    "teacher": "cnn",
    "trials": 4,
    "seeds": [8, 9],
    "confirm": 1,
    "space": {"metric": ["cosine", "L1"], "lambda": {"low": 0.1, "high": 10}},
}


def test_a_gpu_that_fails_costs_a_search_none_of_its_configurations(
    go: Go, tiny: Raw, tmp_path: Path
) -> None:
    tiny["configurations"] = tiny["configurations"][:1]
    tiny["search"] = SEARCH
    ended, _ = go(tiny, cpus=2, gpus=2, broken="1")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    table = read_table(tmp_path / "results", "search")
    assert set(table["number"]) == {0, 1, 2, 3}
    assert set(table["state"]) <= {"complete", "pruned"}
    assert set(read_table(tmp_path / "results", "trials")["status"]) == {"ok"}
    # Quarantined by the search with its teachers. So it is by the study that confirms its best,
    # unless the worker of the other GPU has run both of its trials before one is up on this.
    assert ended.stdout.count("GPU 1 of ") in {1, 2}


def test_a_search_without_a_gpu_that_works_ends_and_goes_on_once_there_is_one(
    go: Go, tiny: Raw, tmp_path: Path
) -> None:
    tiny["configurations"] = tiny["configurations"][:1]
    tiny["search"] = SEARCH
    ended, _ = go(tiny, cpus=2, gpus=2, broken="0 1")
    assert ended.returncode != 0
    assert "no GPU is left that can be used; the last: GPU " in ended.stderr
    assert "Traceback" not in ended.stderr
    assert read_table(tmp_path / "results", "search").empty
    ended, _ = go(tiny, cpus=2, gpus=2)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert set(read_table(tmp_path / "results", "search")["number"]) == {0, 1, 2, 3}


def test_refinement_leaves_a_core_to_the_trial_that_the_gpu_waits_for(go: Go, tiny: Raw) -> None:
    tiny["seeds"] = [0, 1, 2, 3]
    tiny["configurations"] = tiny["configurations"][:1]
    tiny["refine"] = {"slow": ["slow_step:slow"]}
    ended, log = go(tiny, cpus=2, gpus=1, seconds=8)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    trials = sorted(line["trial"] for line in log if "trial" in line)
    walks = [(line["walk"], line["ended"]) for line in log if "walk" in line]
    assert (len(trials), len(walks)) == (4, 8)

    def at_once(moment: float) -> int:
        return sum(began <= moment < over for began, over in walks)

    begun_before = [began for began, _ in walks if began < trials[-1]]
    assert begun_before, "nothing was refined while trials ran"
    assert max(map(at_once, begun_before)) == 1
    assert max(at_once(began) for began, _ in walks) == 2, "cores stood idle once trials had ended"
