"""Shared by the tests of folders: calls that begin together."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

AllAtOnce = Callable[[int, Callable[[int], Any]], list[Any]]


@pytest.fixture
def all_at_once() -> AllAtOnce:
    """Run an action in several threads that begin together; give their results in order."""

    def run(count: int, action: Callable[[int], Any]) -> list[Any]:
        together = threading.Barrier(count)

        def one(number: int) -> Any:
            together.wait()
            return action(number)

        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(one, range(count)))

    return run
