"""A thread for each core, with a worker of its own and one of PyTorch's threads.

PyTorch splits an operator over the cores, which leaves them idle wherever an operator is small or
one thread decodes and writes images. Whole batches side by side keep them at work.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch

Item = TypeVar("Item")
Processed = TypeVar("Processed")


class CoreThreads(Generic[Item, Processed]):
    """Workers in threads of this process.

    A single thread is the caller's own, so that a worker can be followed in a debugger.

    Args:
        new_worker: makes what turns an item into its answer. Each thread has one of its own, made
            at its first item, so workers need not share anything safely.
        count: threads; None: as many as PyTorch would use for an operator, which `OMP_NUM_THREADS`
            and `torch.set_num_threads` change.

    Example:
        >>> list(CoreThreads(lambda: len, count=2).map(["a", "bc", ""]))
        [1, 2, 0]

    """

    def __init__(
        self, new_worker: Callable[[], Callable[[Item], Processed]], count: int | None = None
    ) -> None:
        self.count = torch.get_num_threads() if count is None else count
        self._new_worker = new_worker
        self._own = threading.local()
        self._pool = ThreadPoolExecutor(self.count, "core") if self.count > 1 else None

    def map(self, items: Iterable[Item]) -> Iterator[Processed]:
        """Yield the answers in the order of the items; threads are two items ahead each.

        An error of a worker is raised at its item's place. Then, and where the caller stops early,
        items that no thread has begun are left, and those that are begun are finished.
        """
        if self._pool is None:
            yield from (self._answer(item) for item in items)
            return
        threads = torch.get_num_threads()
        ahead: deque[Future[Processed]] = deque()
        try:
            for item in items:
                ahead.append(self._pool.submit(self._in_thread, item))
                if len(ahead) > 2 * self.count:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for one in ahead:
                one.cancel()
            for one in ahead:
                if not one.cancelled():
                    one.exception()
            # A thread that sets its number sets that of threads to come too.
            torch.set_num_threads(threads)

    def _in_thread(self, item: Item) -> Processed:
        if torch.get_num_threads() != 1:
            torch.set_num_threads(1)
        return self._answer(item)

    def _answer(self, item: Item) -> Processed:
        if not hasattr(self._own, "worker"):
            self._own.worker = self._new_worker()
        answer: Processed = self._own.worker(item)
        return answer
