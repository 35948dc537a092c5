"""Progress in the driver: a line for each training run that ends, with an estimate of the rest.

The estimate learns from the training runs that have ended (`studies.rates`): from those of the same
kind where one has, else from all others, per pass over the training images.
"""

import logging
import time
from collections import Counter
from collections.abc import Collection, Sequence

from reports.progress import progress_bar
from studies.formatting import duration
from studies.planning import (
    Job,
    SegmentJob,
    TrainingJob,
    scoring_work,
    segment_scoring_work,
    segment_work,
    training_work,
)
from studies.rates import Rates, Work
from studies.stages import FailedChain, JobStatus, Outcome

logger = logging.getLogger(__name__)


class Progress:
    """Counts the training runs that have ended and estimates the time of the others.

    Args:
        jobs: what has to run.
        only_scored: the keys of those that were trained before.

    Attributes:
        at_once: how many training runs go at a time; None where that is not known. With it the
            estimate is right from the first one on.
        unrefined: "configuration, seed, chain" -> error, of the chains that failed.
        refined_jobs: the keys of the training runs whose chains have ended.

    """

    def __init__(self, jobs: Collection[Job], only_scored: Collection[str] = ()) -> None:
        self.at_once: int | None = None
        self.unrefined: dict[str, str] = {}
        self.refined_jobs: set[str] = set()
        self._only_scored = frozenset(only_scored)
        self._started = time.perf_counter()
        self._ended = 0
        self._left = Counter(map(self._work, jobs))
        self._rates = Rates()
        self._worked = 0.0
        self._bar = progress_bar(len(jobs), "training runs")

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()

    def more(self, job: Job) -> None:
        """Count one more training run than was known at the start."""
        self._left[self._work(job)] += 1
        self._bar.total = int(self._total)

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Log that a training run has ended, and learn from it how long the others will take."""
        self._ended += 1
        work = self._work(job)
        self._left[work] -= 1
        if outcome.seconds is not None:
            self._worked += outcome.seconds
            if outcome.has_result:
                self._rates.learn(work, outcome.seconds)
        took = time.perf_counter() - self._started
        ok = outcome.status is JobStatus.OK
        state = "" if ok else f"  {outcome.status}: {outcome.error}"
        rest = f", about {duration(self._rest(took))} left" if self._left.total() else ""
        logger.info(
            f"[{self._ended:{len(self._total)}}/{self._total}] {job.named}{state}"
            f"  ({duration(took)}{rest})"
        )
        self._bar.update()

    def refined(self, job: TrainingJob, failed: Sequence[FailedChain]) -> None:
        """Log that the chains over a training run's trials have ended.

        Args:
            job: the training run.
            failed: the chains that failed.

        """
        self.refined_jobs.add(job.key)
        for chain in failed:
            self.unrefined[f"{job.named}, {chain.name}"] = chain.error
        state = f"  {len(failed)} failed: {failed[0].error}" if failed else ""
        logger.info(f"{'':{2 * len(self._total) + 3}} refined: {job.named}{state}")

    @property
    def _total(self) -> str:
        return str(self._ended + self._left.total())

    def _work(self, job: Job) -> Work:
        if isinstance(job, SegmentJob):
            known = segment_scoring_work if job.key in self._only_scored else segment_work
            return known(job.settings)
        learnt = scoring_work if job.key in self._only_scored else training_work
        return learnt(job.settings)

    def _rest(self, took: float) -> float:
        """Return the seconds of wall time that the training runs which are left will take."""
        left = self._left.total()
        work = self._rates.total(self._left)
        if work is None or not self._worked:
            return took / self._ended * left  # no training run like those left has ended yet
        if self.at_once is not None and self._ended < 2 * self.at_once:
            return work / min(self.at_once, left)
        # The work that has ended shows how many went at a time; those now running do not count.
        return work * took / self._worked
