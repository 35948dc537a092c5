"""Which nodes have room for a training run, and how many run at a time."""

import pytest

from studies.planning.capacity import require_room, slots
from wsss_core.errors import InputError

GIB = 2**30
PLAIN = {"CPU": 4.0, "memory": 8.0 * GIB}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"CPU": 5.0, "memory": 1.0 * GIB},
         "'ours' asks for 5 CPUs, 1 GiB memory on one node; the largest node of the cluster has "
         "4 CPUs, 8 GiB memory"),
        ({"CPU": 1.0, "memory": 9.0 * GIB},
         "asks for 1 CPU, 9 GiB memory on one node; the largest node of the cluster has 4 CPUs, "
         "8 GiB memory"),
        ({"CPU": 1.0, "memory": 1.0 * GIB, "GPU": 1.0},
         "asks for 1 GPU, 1 CPU, 1 GiB memory on one node; the largest node of the cluster has "
         "0 GPUs, 4 CPUs, 8 GiB memory"),
    ],
)  # fmt: skip
def test_what_no_single_node_has_is_refused_though_the_cluster_has_it_in_all(
    asked: dict[str, float], said: str
) -> None:
    nodes = [{"CPU": 2.0, "memory": 1.0 * GIB}, PLAIN, {"CPU": 3.0, "memory": 4.0 * GIB}]
    with pytest.raises(InputError, match=said):
        require_room([("fits", {"CPU": 1.0, "memory": 1.0}), ("ours", asked)], nodes)


def test_amounts_on_different_nodes_are_no_room() -> None:
    nodes = [{"CPU": 16.0, "memory": 64.0 * GIB}, {"CPU": 2.0, "memory": 4.0 * GIB, "GPU": 1.0}]
    with pytest.raises(InputError, match=r"has 0 GPUs, 16 CPUs, 64 GiB memory"):
        require_room([("ours", {"CPU": 4.0, "memory": 8.0 * GIB, "GPU": 1.0})], nodes)
    require_room([("ours", {"CPU": 4.0, "memory": 8.0 * GIB})], nodes)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.25, 1 / 3, 0.7, 1.0, 2.0])
def test_slots_are_counted_as_ray_counts_shares_of_a_gpu(share: float) -> None:
    """Ray counts in steps of 1/10000; three thirds of a GPU, rounded, fit on it."""
    a_gpu = {0.1: 10, 0.2: 5, 0.25: 4, 1 / 3: 3, 0.7: 1, 1.0: 1}
    expected = 4 * a_gpu[share] if share in a_gpu else 2
    nodes = [{"CPU": 64.0, "memory": 64.0 * GIB, "GPU": 4.0}]
    found = slots({"CPU": 1.0, "memory": 1.0 * GIB, "GPU": share}, nodes)
    # A share lies on one GPU, so what remains of several GPUs does not add up to another.
    assert found == expected


def test_slots_add_up_over_nodes_and_not_over_their_remains() -> None:
    nodes = [{"CPU": 3.0, "memory": 8.0 * GIB}, {"CPU": 3.0, "memory": 8.0 * GIB}]
    assert slots({"CPU": 2.0, "memory": 1.0 * GIB}, nodes) == 2
    assert slots({"CPU": 2.0, "memory": 9.0 * GIB}, nodes) == 0
