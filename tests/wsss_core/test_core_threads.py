"""A thread for each core, each with a worker of its own."""

import threading
import time
from collections.abc import Callable

import pytest
import torch

from wsss_core.core_threads import CoreThreads


@pytest.fixture(autouse=True)
def three_threads(one_thread: None, torch_threads: Callable[[int], None]) -> None:
    torch_threads(3)


def where_it_ran(item: int) -> tuple[int, str, int]:
    time.sleep(0.01)
    return item, threading.current_thread().name, torch.get_num_threads()


def test_answers_come_in_the_order_of_the_items_from_threads_of_one_core_each():
    threads = CoreThreads(lambda: where_it_ran)
    assert threads.count == 3
    answers = list(threads.map(range(20)))
    assert [item for item, _, _ in answers] == list(range(20))
    assert len({name for _, name, _ in answers}) > 1
    assert {cores for _, _, cores in answers} == {1}
    assert torch.get_num_threads() == 3
    found: list[int] = []
    one = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    one.start()
    one.join()
    assert found == [3]  # threads of the caller that come later are as they would have been


def test_each_thread_has_one_worker_over_all_calls():
    made: list[str] = []

    def new() -> Callable[[int], int]:
        made.append(threading.current_thread().name)
        return lambda item: item + where_it_ran(0)[0]

    threads = CoreThreads(new, count=2)
    for _ in range(3):
        assert list(threads.map(range(6))) == list(range(6))
    assert len(made) == len(set(made)) <= 2


def test_a_single_thread_is_the_caller_s_with_all_of_its_cores():
    ((_, name, cores),) = CoreThreads(lambda: where_it_ran, count=1).map([0])
    assert (name, cores) == (threading.current_thread().name, 3)


def test_an_error_comes_at_its_place_and_the_rest_is_left():
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        time.sleep(0.01)
        return 12 // (item - 4)

    answers = CoreThreads(lambda: work, count=2).map(range(100))
    assert [next(answers) for _ in range(4)] == [-3, -4, -6, -12]
    with pytest.raises(ZeroDivisionError):
        next(answers)
    done = len(begun)
    assert done < 15
    time.sleep(0.05)
    assert len(begun) == done


def test_a_caller_that_stops_leaves_what_no_thread_has_begun():
    begun: list[int] = []
    finished: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        time.sleep(0.02)
        finished.append(item)
        return item

    answers = CoreThreads(lambda: work, count=2).map(range(100))
    assert next(answers) == 0
    answers.close()
    assert sorted(begun) == sorted(finished)
    assert len(begun) < 12
