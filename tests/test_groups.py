"""Where several processes run the tests, those of a file share one, and those with Ray another."""

import pytest


def test_xdist_sees_the_groups_that_conftest_sets(request: pytest.FixtureRequest) -> None:
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("runs without --dist loadgroup, as `make test` has it")
    # xdist hands a group on behind the test's name; with pytest 9.2 it does not (issue 1386).
    assert request.node.nodeid.endswith("@test_groups.py")
