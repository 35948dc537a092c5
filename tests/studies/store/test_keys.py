"""The key of a stage."""

import hashlib
import itertools
from pathlib import Path

import pytest

from studies.store.keys import VERSIONS, canonical, stage_key
from wsss_core.data.file_hashes import file_hashes


def test_a_key_is_the_hash_of_the_canonical_json_of_all_that_decides_the_result() -> None:
    written = (
        '["train",2,{"epochs":3,"options":{"channels":[4,8]},"rate":0.0001},["parent"],["data"]]'
    )
    settings = {"rate": 1e-4, "options": {"channels": (4, 8)}, "epochs": 3}
    key = stage_key("train", settings, parents=["parent"], data=["data"])
    assert key == hashlib.blake2b(written.encode(), digest_size=10).hexdigest()


def test_a_key_stays_what_it_was_in_every_release() -> None:
    assert stage_key("scores", {"a": 1}, parents=["p"], data=["d"]) == "427f3a733a7f0e3750b1"


def test_the_order_in_which_settings_were_written_is_no_setting() -> None:
    settings = {"a": 1, "b": {"x": 1, "y": [1, 2]}, "c": None}
    keys = {stage_key("train", dict(order)) for order in itertools.permutations(settings.items())}
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("train", {"a": 1}, ["p"], ["d"]), ("scores", {"a": 1}, ["p"], ["d"])),
        (("train", {"a": 1}, ["p"], ["d"]), ("train", {"a": 2}, ["p"], ["d"])),
        (("train", {"a": 1}, ["p"], ["d"]), ("train", {"a": None}, ["p"], ["d"])),
        (("train", {"a": 1}, ["p"], ["d"]), ("train", {"a": "1"}, ["p"], ["d"])),
        (("train", {"a": 1}, ["p"], ["d"]), ("train", {"a": 1}, ["q"], ["d"])),
        (("train", {"a": 1}, ["p"], ["d"]), ("train", {"a": 1}, ["p"], ["e"])),
        (("train", {"a": 1}, ["p"], []), ("train", {"a": 1}, [], ["p"])),
        (("train", {}, ["ab"], []), ("train", {}, ["a", "b"], [])),
        (("train", {}, ["a", "b"], []), ("train", {}, ["b", "a"], [])),
    ],
)
def test_whatever_else_differs_makes_another_key(
    one: tuple[str, dict, list, list], other: tuple[str, dict, list, list]
) -> None:
    stage, settings, parents, data = one
    first = stage_key(stage, settings, parents=parents, data=data)
    stage, settings, parents, data = other
    assert stage_key(stage, settings, parents=parents, data=data) != first


def test_raising_a_stage_version_makes_its_keys_new_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = {stage: stage_key(stage, {}) for stage in VERSIONS}
    monkeypatch.setitem(VERSIONS, "cams", VERSIONS["cams"] + 1)
    changed = {stage for stage in VERSIONS if stage_key(stage, {}) != before[stage]}
    assert changed == {"cams"}


def test_a_number_that_is_none_has_no_key() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"a": float("nan")})


def test_a_file_is_named_by_its_content_alone(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "a.pth").write_bytes(content)
    (tmp_path / "b.bin").write_bytes(content)
    expected = hashlib.blake2b(content, digest_size=16).hexdigest()
    assert file_hashes([tmp_path / "a.pth"])[0] == file_hashes([tmp_path / "b.bin"])[0] == expected
