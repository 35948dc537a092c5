"""Cores that trials on GPUs leave to refinement, on nodes that come and go."""

from collections.abc import Callable

import pytest

import studies.ray_tune.spare_cores
from studies.ray_tune.spare_cores import SpareCores, spare_cores

GIB = 2.0**30


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Time stands still until it is moved on by seconds."""
    now = [1000.0]
    monkeypatch.setattr(studies.ray_tune.spare_cores.time, "monotonic", lambda: now[0])

    def move_on(seconds: float) -> None:
        now[0] += seconds

    return move_on


def all_taken(spare: SpareCores) -> list[str]:
    taken = []
    while (node := spare.take()) is not None:
        taken.append(node)
    return taken


def test_a_node_keeps_the_cores_of_as_many_trials_as_it_has_room_for() -> None:
    node = {"CPU": 16, "GPU": 4, "memory": 64 * GIB}
    assert spare_cores(node, [{"CPU": 2, "GPU": 1, "memory": GIB}]) == 8
    # Memory for two trials, so two of the GPUs are never lent.
    assert spare_cores(node, [{"CPU": 2, "GPU": 1, "memory": 32 * GIB}]) == 12
    # Quarters of GPUs: eight trials of two cores fill the node.
    assert spare_cores(node, [{"CPU": 2, "GPU": 0.25, "memory": GIB}]) == 0


def test_of_different_trials_those_count_that_want_most_cores() -> None:
    node = {"CPU": 16, "GPU": 2}
    assert spare_cores(node, [{"CPU": 1, "GPU": 0.5}, {"CPU": 5, "GPU": 1}]) == 6


def test_a_node_without_a_gpu_or_too_small_for_a_trial_gives_all_its_cores() -> None:
    assert spare_cores({"CPU": 4}, [{"CPU": 1, "GPU": 1}]) == 4
    assert spare_cores({"CPU": 4, "GPU": 1}, [{"CPU": 8, "GPU": 1}]) == 4


def test_trials_without_a_gpu_leave_nothing_to_be_counted() -> None:
    assert not SpareCores([{"CPU": 2}], dict).counted
    assert SpareCores([{"CPU": 2}, {"CPU": 2, "GPU": 1}], dict).counted


def test_cores_are_taken_where_most_are_free_until_none_is_and_given_back_by_node() -> None:
    nodes = {"a": {"CPU": 4, "GPU": 1}, "b": {"CPU": 2}}
    spare = SpareCores([{"CPU": 1, "GPU": 1}], lambda: nodes)
    assert all_taken(spare) == ["a", "a", "b", "a", "b"]
    spare.give_back("b")
    assert all_taken(spare) == ["b"]
    spare.give_back("a")
    spare.give_back("a")
    assert all_taken(spare) == ["a", "a"]


def test_nodes_that_come_and_go_are_seen_at_the_next_look(
    clock: Callable[[float], None],
) -> None:
    nodes = {"a": {"CPU": 2, "GPU": 1}}
    spare = SpareCores([{"CPU": 1, "GPU": 1}], lambda: dict(nodes))
    assert all_taken(spare) == ["a"]
    nodes["b"] = {"CPU": 3}
    assert all_taken(spare) == []
    clock(studies.ray_tune.spare_cores.NODES_S)
    assert all_taken(spare) == ["b"] * 3
    del nodes["b"]
    clock(studies.ray_tune.spare_cores.NODES_S)
    # Its tasks end later, elsewhere or in vain: they make no core free that is not there.
    for _ in range(3):
        spare.give_back("b")
    assert all_taken(spare) == []
    nodes["b"] = {"CPU": 3}
    clock(studies.ray_tune.spare_cores.NODES_S)
    assert all_taken(spare) == ["b"] * 3


def test_without_any_node_there_is_none_to_take() -> None:
    assert SpareCores([{"CPU": 1, "GPU": 1}], dict).take() is None
