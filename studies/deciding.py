"""Seeds where a comparison is open: the rounds of a study with `decide`, in a run.

Where a study stands follows from its ledger alone (`reports.decisions`), so a run that goes on, and
a second driver, ask for the same trials. The ledger's plan holds the trials that were asked for.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from reports.decisions import Rounds, answer_records, read_rounds, standing_lines
from reports.ledger import part_name, table_folder, write_part
from reports.ledger.parts import read_arrow
from reports.storage import Location
from studies.planning import CancelledInRun, Estimate, Job, Plan, TrainingJob
from studies.stages import Outcome, publish_all
from studies.store import ArtifactStore

logger = logging.getLogger(__name__)


def rounds_in_ledger(rows: Iterable[Mapping[str, Any]], results: Location) -> Rounds:
    """Return how far a study with `decide` is.

    Args:
        rows: of all trials that it may ask for, see `Plan.ledger_rows`.
        results: the folder of the ledger.

    """
    rounds = read_rounds(results, rows)
    assert rounds is not None
    return rounds


def asked_so_far(plan: Plan, rounds: Rounds) -> Plan:
    """Return the plan of the trials that were asked for so far.

    Args:
        plan: all trials that may be asked for.
        rounds: how far the study is.

    """
    return plan.asked_for(lambda trial: rounds.asks_for(trial.configuration, trial.seed))


@dataclass(frozen=True)
class DecideInPlan:
    """What a study with `decide` asks for now, and the most that it may ask for.

    Attributes:
        rounds: how far its comparisons are.
        most_trials: trials if every comparison gets all seeds.
        most_training_runs: training runs to do then.
        most_left: their work; None where nothing has been measured, or nothing is left.

    """

    rounds: Rounds
    most_trials: int
    most_training_runs: int
    most_left: Estimate | None

    def lines(self) -> list[str]:
        """Say where comparisons stand, and the most that they can ask for."""
        question, left = self.rounds.question, self.most_left
        most = (
            f"  at most {self.most_training_runs} training runs more, if every comparison gets all "
            f"{question.most_seeds} seeds"
        )
        if left is not None:
            hours = ((left.gpu_hours, "GPU-hours"), (left.core_hours, "CPU-core-hours"))
            most += ": " + " and ".join(f"{n:.3g} {name}" for n, name in hours if n)
        lines = [*standing_lines(self.rounds), most]
        if question.most_hours is not None:
            kind = "wall time" if question.hours == "wall" else "processors"
            lines.append(f"  no seed is begun after {question.most_hours:g} hours of {kind}")
        return lines

    def record(self) -> dict[str, Any]:
        """Return it as plain values; `docs/commands.md` describes them."""
        left = self.most_left
        return {
            "comparisons": answer_records(self.rounds),
            "most_trials": self.most_trials,
            "most_training_runs": self.most_training_runs,
            "most_gpu_hours": left and left.gpu_hours,
            "most_core_hours": left and left.core_hours,
        }


class Deciding:
    """A study with `decide` in a run.

    Args:
        whole: all trials that it may ask for.
        results: the folder of the ledger.
        store: where finished trials are looked up.

    Attributes:
        plan: the trials that were asked for so far; a new round adds to it in place.
        rounds: how far the study is.
        untrained: the keys of training runs that rounds of this run began with.
        unscored: the keys of those that were trained before.

    """

    def __init__(self, whole: Plan, results: Location, store: ArtifactStore) -> None:
        self._whole, self._results, self._store = whole, results, store
        self._rows = whole.ledger_rows()
        self._outstanding: set[str] = set()
        self._ended: dict[str, frozenset[str]] = {}
        self.untrained: set[str] = set()
        self.unscored: set[str] = set()
        self._heal()
        self._warn_of_another_rule()
        self.rounds = self._look()
        self.plan = asked_so_far(whole, self.rounds)

    def to_run(self, pending: Iterable[Job]) -> list[Job]:
        """Leave out the jobs whose trials failed and that decided comparisons have passed over.

        What is left has to end before the next round.
        """
        held = self.held
        left = [
            job
            for job in pending
            if not (
                isinstance(job, TrainingJob)
                and job.trials
                and {trial.key for trial in job.unscored(self._store.has)} <= held
            )
        ]
        self._outstanding = {job.key for job in left}
        return left

    @property
    def held(self) -> set[str]:
        """The keys of failed trials that decided comparisons have passed over."""
        held = self.rounds.held
        return {t.key for t in self.plan.trials if (t.configuration, t.seed) in held}

    @property
    def later(self) -> list[TrainingJob]:
        """The jobs that later rounds may ask for."""
        return [job for key, job in self._whole.jobs.items() if key not in self.plan.jobs]

    @property
    def lines(self) -> tuple[str, ...]:
        """Where the comparisons stand, in words."""
        return tuple(standing_lines(self.rounds))

    def log(self) -> None:
        """Log where the study stands."""
        for line in self.lines:
            logger.info(line)

    def on_end(self, job: Job, outcome: Outcome, record: Callable[[Job, str], object]) -> list[Job]:
        """Return the jobs of the next round once all of the last one have ended.

        Args:
            job: a job that has ended.
            outcome: how.
            record: writes a job that failed to the ledger.

        """
        if outcome.unrecorded:
            record(job, str(outcome.error))
        self._outstanding.discard(job.key)
        self._ended[job.key] = frozenset(job.score_keys())
        return [] if self._outstanding else self._next_round()

    def _next_round(self) -> list[Job]:
        self.rounds = self._look()
        self.log()
        self.plan.jobs.update(asked_so_far(self._whole, self.rounds).jobs)
        write_part(self._results, "plan", self.plan.study.file_name, self.plan.ledger_rows())
        if self.plan.chains:
            write_part(
                self._results, "refinements", self.plan.study.file_name, self.plan.chain_rows()
            )
        jobs = [
            job
            for job in CancelledInRun(self.plan, self._results).kept.pending(self._store)
            if self._ended.get(job.key) != frozenset(job.score_keys())
        ]
        has = self._store.seen()
        trainings = [job for job in jobs if not job.members]  # a fused row trains nothing
        self.untrained |= (new := {job.key for job in trainings if not has("train", job.key)})
        self.unscored |= {job.key for job in trainings if job.unscored(has)} - new - self.untrained
        return self.to_run(jobs)[::-1]  # a schedule puts each in front of those before

    def _heal(self) -> None:
        """Bring back what the ledger holds of trials and differs from the store's."""
        listing = table_folder(self._results, "trials").listing()
        keys = [t.key for t in self._whole.trials if part_name(t.key) in listing]
        publish_all(self._store, keys, self._results)

    def _warn_of_another_rule(self) -> None:
        """Warn where the ledger's plan had another rule, and results may have chosen this one."""
        name = self._whole.study.file_name
        rows = read_arrow(self._results, "plan", keys=[name], columns=["decide"]).to_pylist()
        before = {row["decide"] for row in rows} - {None}
        if before and before != {self._rows[0]["decide"]}:
            logger.warning(
                "decide has changed since this folder's last run; its error rates hold for what "
                "was chosen before the first training"
            )

    def _look(self) -> Rounds:
        """Bring finished trials that are asked for to the ledger; return how far the study is."""
        scored = self._store.finished("scores")
        while True:
            rounds = rounds_in_ledger(self._rows, self._results)
            waits = set(rounds.waits_for)
            there = [
                key
                for trial in self._whole.trials
                if (trial.configuration, trial.seed) in waits and trial.key in scored
                for key in trial.score_keys
            ]
            if not there or publish_all(self._store, there, self._results):
                return rounds
            scored = scored - set(there)
