"""`--json`: strict JSON alone on standard output, with the keys that `docs/commands.md` names."""

import json
import math
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from reports.decisions import Question, Rounds, RowPair, SeedResult, follow_rounds
from reports.ledger import CancelledRow
from reports.pairing import FoldedSeed
from reports.results.failure_causes import Failure
from studies.cli.plan_summary import (
    ChainInPlan,
    CostOfPlan,
    PlanSummary,
    SearchInPlan,
    SegmentInPlan,
    TrialInPlan,
    TrialWork,
)
from studies.cli.plan_text import plan_record
from studies.cli.strict_json import Schema, json_alone, of_schema, show_json
from studies.deciding import DecideInPlan
from studies.planning import Estimate, RecipeInPlan
from studies.spec.loading import shipped_studies
from studies.stages.features import FeaturePrice
from studies.status.model import (
    ChainState,
    Running,
    SearchState,
    SegmentState,
    StudyStatus,
    TrialState,
)
from studies.status.text import status_record
from studies.store import ArtifactStore
from wsss_core.data.folds import Fold

Command = Callable[..., Any]
Write = Callable[[dict[str, Any]], str]
PAGE = (Path(__file__).parents[3] / "docs" / "commands.md").read_text(encoding="utf-8")


def keys_on_page(schema: str) -> set[str]:
    """The keys that a schema's table names, without those that only hold others."""
    section = re.split(rf"^### Schemas? .*`{schema}`.*$", PAGE, flags=re.MULTILINE)[1]
    rows = re.findall(r"^\| (.*?) \|", re.split(r"^##", section, flags=re.M)[0], re.MULTILINE)
    keys = {key for row in rows for key in re.findall(r"`([^`]+)`", row)}
    holders = {
        key for key in keys if any(other.startswith((f"{key}.", f"{key}[")) for other in keys)
    }
    return keys - holders


def keys_of(value: Any, by_name: dict[str, str], path: str = "") -> set[str]:
    """The paths of the values in JSON; the keys of a mapping by name are its stand-in."""
    if path in by_name:
        value = dict.fromkeys([by_name[path]], next(iter(value.values())))
    if isinstance(value, dict) and value:
        parts = [keys_of(v, by_name, f"{path}.{key}" if path else key) for key, v in value.items()]
    elif isinstance(value, list) and value:
        parts = [keys_of(inner, by_name, f"{path}[]") for inner in value]
    else:
        return {path}
    return set().union(*parts)


def printed(ended: Any) -> Any:
    """What a command printed, which has to be one line of strict JSON and nothing else."""
    assert ended.out.count("\n") == 1

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(ended.out, parse_constant=refuse)


NAMED = {"schema", "schema_version"}


def a_fold() -> Fold:
    places = {role: ((role, 0),) for role in ("train", "tune", "test")}
    return Fold(1, ("north",), places, 2, {"test": 1}, {"test": ("smoke",)})


def some_rounds() -> Rounds:
    question = Question(
        (RowPair("a", "b"),), False, (0, 1, 2), 0.05, 0.05, 2, 1, None, "processor",
        "per_image_iou", "test", None, None, "apart", "t-mixture", 0.5,
    )  # fmt: skip
    results = {(row, seed): SeedResult(0.1 * seed) for row in "ab" for seed in (0, 1)}
    return follow_rounds(question, ["a", "b"], results)


CANCELLED = CancelledRow("s", "a", datetime(2026, 11, 28, tzinfo=UTC), "no use")


def a_plan() -> PlanSummary:
    trial = TrialInPlan("a", 0, "k", "t", TrialWork.TO_SCORE, 0.5, {"CRF": True})
    left = Estimate(1.0, 2.0, 3.0, 0.0, 0.5, math.inf, (1, 2))
    return PlanSummary(
        "s", "Why?", "x", (trial, replace(trial, state=TrialWork.DONE)), 3, 1, 9, 2,
        (ChainInPlan("CRF", 1, 2, None),), SearchInPlan(40, 2, 2, 5),
        CostOfPlan(4, "a CPU", False, left, 0.1, True), (a_fold(),),
        (RecipeInPlan("AdamW", ("a",)),),
        (SegmentInPlan("25 masks", 0, "k", "s", TrialWork.TO_TRAIN, "25 true masks"),),
        (FeaturePrice("resnet18", "encoder", "float16", 100352, 4, 1),),
        DecideInPlan(some_rounds(), 9, 9, left), cancelled=(CANCELLED,),
    )  # fmt: skip


def a_status() -> StudyStatus:
    return StudyStatus(
        name="s",
        title="Why?",
        states={("a", 0.5, FoldedSeed(0, 1)): TrialState.DONE},
        failed=(Failure("a, seed 0", "OSError: no"),),
        collapsed=(),
        unrefined=(),
        chains=(ChainState("CRF", 1, 0, 0, 0),),
        search=SearchState({"complete": 1}, 40, 0.5),
        running=(Running("a", "train", "host", 1, 2.0, "epoch 1"),),
        at_once=1.0,
        seconds_left=math.nan,
        segments=(SegmentState("25 masks", 1, 0, 0, 0, 0),),
        rounds=some_rounds(),
        cancelled=(CANCELLED,),
    )


def test_a_plan_has_the_keys_of_the_page(wsss: Command, write_study: Write, tiny: Any) -> None:
    ended = wsss("plan", write_study(tiny), "--json", "--results", "/nowhere/results")
    record = printed(ended)
    assert (record["schema"], record["schema_version"]) == ("plan", 1)
    whole = {**record, **plan_record(a_plan()), "made_otherwise": ["trials were made by ..."]}
    by_role = {f"folds[].{name}": "ROLE" for name in ("images", "groups", "absent")}
    assert keys_of(whole, {"trials[].chains": "NAME", **by_role}) == keys_on_page("plan") | NAMED


def test_a_description_has_the_keys_of_the_page(wsss: Command, tmp_path: Path) -> None:
    wsss("data", "scenes", tmp_path / "IJmond", "--train", 60, "--tune", 8, "--test", 8)
    flags = [
        f"train/{kind}/{path.name},{flag}"
        for kind, flag in (("smoke", "day"), ("clear", "night"))
        for path in (tmp_path / "IJmond/train" / kind).iterdir()
    ]
    (tmp_path / "IJmond/attributes.csv").write_text("\n".join(["file,flags", *flags]) + "\n")
    ended = wsss("data", "describe", tmp_path / "IJmond", "--json", "--out", tmp_path / "out")
    record = printed(ended)
    assert (record["schema"], record["schema_version"]) == ("data", 1)
    # The first object of a list stands for all.
    full = next(row for row in record["counts"] if row["published"] and row["object_share"])
    same = record["cooccurrences"][0]
    record |= {
        "counts": [full],
        "cooccurrences": [{**same, "same_images": ["a"], "other_images": ["b"]}],
    }
    assert keys_of(record, {}) == keys_on_page("data") | NAMED


def test_a_status_has_the_keys_of_the_page() -> None:
    record = of_schema(Schema.STATUS, status_record(a_status()))
    by_name = {"configurations[].seeds": "SEED", "search.states": "STATE"}
    assert keys_of(record, by_name) == keys_on_page("status") | NAMED


def test_thresholds_have_the_keys_of_the_page_and_the_numbers_of_the_file(
    wsss: Command, finished: Any, tmp_path: Path
) -> None:
    ledger = shutil.copytree(finished.results / "ledger", tmp_path / "results" / "ledger")
    lost = finished.plan.trials[-1].key
    for part in ledger.glob(f"*/{lost}.parquet"):
        part.unlink()
    ended = wsss("thresholds", tmp_path / "results", "--json")
    record = printed(ended)
    assert keys_of(record, {"studies[].rules": "RULE"}) == keys_on_page("thresholds") | NAMED
    (study,) = record["studies"]
    assert [one["configuration"] for one in study["unscored"]] == [
        trial.configuration for trial in finished.plan.trials if trial.key == lost
    ]
    table = pd.read_parquet(record["files"][1])
    assert len(study["choices"]) == len(table) > 10
    for choice, row in zip(study["choices"], table.to_dict("records"), strict=True):
        names = {"class": "class_name", "chain": "refinement", "threshold_level": "level"}
        never = choice.pop("never_predicted")
        assert never == (0 < row["images_with_class"] <= row["images_with_class_gated"])
        for key, value in choice.items():
            kept = row[names.get(key, key)]
            assert value == kept or (value is None and math.isnan(kept)), key
    prices = table[table["rule"] == "tuned"]
    student = prices[(prices["network"] == "student") & (prices["status"] == "ok")]["price"]
    (tuned,) = [price for price in study["mean_prices"] if price["rule"] == "tuned"]
    assert tuned["mean"] == pytest.approx(student.mean())
    assert (tuned["sd"], tuned["n"]) == (pytest.approx(student.std()), len(student))


def test_the_shipped_studies_have_the_keys_of_the_page(wsss: Command) -> None:
    every = printed(wsss("studies", "--json"))
    assert [study["name"] for study in every["studies"]] == list(shipped_studies())
    crops = printed(wsss("studies", "thesis/lambda", "--json"))
    assert crops["schema"] == "study"
    needs = {"needs": ["data.root"]}  # the study and its quick variant need nothing
    full = {**crops, **needs, "variants": [{**one, **needs} for one in crops["variants"]]}
    assert keys_of(full, {}) == keys_on_page("study") | NAMED
    assert all(study.keys() | NAMED == crops.keys() for study in every["studies"])


def test_a_store_has_the_keys_of_the_page_and_the_sizes_of_its_files(
    wsss: Command, finished: Any, tmp_path: Path
) -> None:
    store = ArtifactStore(shutil.copytree(finished.results / "store", tmp_path / "store"))
    with store.leases.take("train", "abc"):
        record = printed(wsss("store", "list", tmp_path / "store", "--keys", "--json"))
    assert keys_of(record, {}) == keys_on_page("store") | NAMED
    assert record["at_work"][0]["key"] == "abc"
    found = {f"{one['stage']}/{one['key']}": one["bytes"] for one in record["artifacts"]}
    folders = [file.parent for file in (tmp_path / "store").glob("[a-z]*/*/manifest.json")]
    assert found.keys() == {f"{folder.parent.name}/{folder.name}" for folder in folders}
    for stage in record["stages"]:
        of_stage = [one for one in record["artifacts"] if one["stage"] == stage["stage"]]
        assert stage["bytes"] == sum(one["bytes"] for one in of_stage)
        assert stage["artifacts"] == len(of_stage)


def test_a_plan_counts_its_trials_by_what_is_left_of_them(
    wsss: Command, write_study: Write, tiny: Any, finished: Any
) -> None:
    tiny["seeds"] = [0, 1]
    record = printed(wsss("plan", write_study(tiny), "--results", finished.results, "--json"))
    done = [trial for trial in record["trials"] if trial["seed"] == 0]
    assert {trial["key"] for trial in done} == {trial.key for trial in finished.plan.trials}
    assert {trial["state"] for trial in done} == {"done"}
    assert record["counts"]["done"] == len(done) == 4
    assert sum(record["counts"].values()) == len(record["trials"]) == 8
    assert record["cost"]["measured_trials"] == 4
    assert record["cost"]["training_seconds"] > 0
    text = wsss("plan", write_study(tiny), "--results", finished.results).out
    assert f"{record['training_runs']} training runs to do" in text
    assert f": {record['passes']} passes over" in text


def test_a_plan_s_checks_go_to_standard_error(
    wsss: Command, write_study: Write, tiny: Any, finished: Any
) -> None:
    ended = wsss("plan", write_study(tiny), "--results", finished.results, "--check", "--json")
    assert printed(ended)["checked"] is True
    assert "nothing is left to run, so nothing is checked" in ended.err


@pytest.mark.parametrize(
    "command",
    [
        ("plan", "no_such_study"),
        ("status", "no/such/folder"),
        ("thresholds", "no/such/folder"),
        ("studies", "no_such_study"),
        ("store", "list", "no/such/folder"),
    ],
)
def test_a_wrong_input_is_one_line_beside_an_empty_output(
    wsss: Command, command: tuple[str, ...]
) -> None:
    ended = wsss(*command, "--json")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("wsss: ")
    assert ended.err.count("\n") == 1


def test_what_code_prints_by_itself_is_kept_from_the_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with json_alone():
        print("a plug-in's word")
        show_json({"iou": [0.1 + 0.2, math.nan, math.inf], "at": "s3://me:secret@host/x"})
        print("another", file=sys.stdout)
    print("after")
    said = capsys.readouterr()
    assert said.out == (
        '{"iou": [0.30000000000000004, null, null], "at": "s3://me:***@host/x"}\nafter\n'
    )
    assert said.err == "a plug-in's word\nanother\n"


def test_a_file_s_numbers_are_those_of_its_record(wsss: Command) -> None:
    for name, file in shipped_studies().items():
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
        record = printed(wsss("studies", name, "--json"))
        assert record["title"] == raw["title"]
        assert record["seeds"] == len(raw["seeds"])
        assert record["values"] == len(raw.get("sweep", {"values": [0]})["values"])
        assert [v["variant"] for v in record["variants"]] == list(raw.get("variants", {}))
        assert record["trials"] == (record["configurations"] * record["seeds"] * record["values"])
