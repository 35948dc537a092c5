"""The rounds of the chaos run: who is disturbed when, and what is looked at in the end."""

import random
import re
import tempfile
import time
from pathlib import Path

from disturbances import Disturbances
from processes import end, processes_of
from study_folder import Driver, StudyFolder
from verdict import (
    files,
    garbage_faults,
    is_complete,
    ledger_differences,
    store_differences,
    teacher_faults,
    teachers,
    training_faults,
    unexplained,
)

PATIENCE = 300.0
"""Seconds without anything done after which a driver that lives is said to hang."""


class Chaos:
    """The rounds.

    Args:
        base: folder of all that is made.
        seed: of what is done and when.
        kinds: see `disturbances.KINDS`.
        in_turn: take the kinds as given; else they are drawn.
        short: a smaller study.
        joins: whether there is a cluster that drivers may join.

    Attributes:
        violations: what should not have happened.
        studies: how many were completed.

    """

    def __init__(
        self, base: Path, *, seed: int, kinds: list[str], in_turn: bool, short: bool, joins: bool
    ) -> None:
        self.base, self.kinds, self.in_turn, self.short = base, kinds, in_turn, short
        self.random = random.Random(seed)
        self.violations: list[str] = []
        self.studies = 0
        self._seen: list[Driver] = []
        self.undisturbed = self._new("undisturbed")
        self.cluster = None
        if joins:
            from cluster import LossyCluster

            self.cluster = LossyCluster()
        scratch = Path(tempfile.gettempdir())
        self.disturbances = Disturbances(self.random, scratch, self.cluster, self.violations)
        self.study = self._new("study-1")

    def _new(self, name: str) -> StudyFolder:
        return StudyFolder(self.base / name, short=self.short)

    def go(self, rounds: int) -> None:
        """Run the undisturbed study, then all rounds, then compare the last study."""
        began = time.monotonic()
        code = self.undisturbed.start("--in-process").process.wait()
        if code or unexplained(self.undisturbed):
            raise SystemExit(f"undisturbed: {code}, {unexplained(self.undisturbed)}\n"
                             + self.undisturbed.drivers[0].said())  # fmt: skip
        print(f"undisturbed, in one process: {self._state(self.undisturbed)} in "
              f"{time.monotonic() - began:.0f} s, {len(files(self.undisturbed))} files, "
              f"{len(teachers(self.undisturbed))} teachers", flush=True)  # fmt: skip
        for number in range(1, rounds + 1):
            self._round(number)
        self._complete()

    def _state(self, study: StudyFolder) -> str:
        done, all_of = study.done(), self.undisturbed.done()
        return ", ".join(
            f"{done[stage]}/{all_of[stage]} {stage}" for stage in all_of if all_of[stage]
        )

    def _round(self, number: int) -> None:
        kind = self.random.choice(self.kinds)
        if self.in_turn:
            kind = self.kinds[(number - 1) % len(self.kinds)]
        early, twins = self.random.random() < 0.25, self.random.random() < 0.2
        seconds = self.random.uniform(0, 10 if early else 5)
        if self.short:
            early, seconds = False, seconds / 5
        while True:
            living = self._living(twins)
            moment = self._moment(living, early and kind != "storage", seconds)
            living = [driver for driver in living if driver.lives]
            did = None
            if living:
                did = self.disturbances.do(kind, self.study, self.random.choice(living))
            if did is not None:
                break
        self.study.disturbed.append(did)
        print(
            f"round {number:2} {time.strftime('%H:%M:%S')} {self.study.folder.name} {moment}: {did}"
            f"{' (two drivers)' if len(living) > 1 else ''}; {self._state(self.study)}", flush=True,
        )  # fmt: skip

    def _living(self, twins: bool) -> list[Driver]:
        """The drivers of a study that is not complete, started as needed."""
        living = [driver for driver in self.study.drivers if driver.lives]
        if not living and self.study.drivers and self._is_done():
            self._complete()
            self.study = self._new(f"study-{self.studies + 1}")
        while len(living) < (2 if twins else 1):
            joins = self.cluster is not None and self.random.random() < 0.75
            living.append(self._start(joins))
        return living

    def _start(self, joins: bool) -> Driver:
        self._look_at_ended()
        address = self.cluster.address if self.cluster is not None else ""
        return self.study.start(*(["--address", address] if joins else []))

    def _is_done(self) -> bool:
        last = self.study.drivers[-1].process.returncode
        done = is_complete(self.study, self.undisturbed)
        if last == 0 and not done:
            self.violations.append(f"{self.study.folder.name}: a driver ended with 0, "
                                   f"and there is {self._state(self.study)}")  # fmt: skip
        return done

    def _moment(self, living: list[Driver], early: bool, seconds: float) -> str:
        """Wait: from now on if early, else from when something was done; until all have ended."""
        began = time.monotonic()
        before = self.study.activity()
        while not early and any(driver.lives for driver in living):
            begun = all(driver.has_begun for driver in living if driver.lives)
            if begun and self.study.activity() > before:
                break
            if time.monotonic() - began > PATIENCE:
                name = f"{self.study.folder.name}/{self.study.drivers[-1].log.name}"
                self.violations.append(f"{name}: nothing was done in {PATIENCE:.0f} s")
                for driver in living:
                    driver.abort()
            time.sleep(0.2)
        moment = time.monotonic()
        while any(driver.lives for driver in living) and time.monotonic() < moment + seconds:
            time.sleep(0.05)
        return f"after {time.monotonic() - began:.1f} s"

    def _look_at_ended(self) -> None:
        for driver in self.study.drivers:
            if driver.lives or driver in self._seen:
                continue
            self._seen.append(driver)
            name, code = f"{self.study.folder.name}: {driver.log.stem}", driver.process.returncode
            if "Traceback" in driver.said():
                self.violations.append(f"{name} shows a traceback")
            if code > 0:
                print(f"  {name} ended with {code}: {driver.last_said(1)}", flush=True)

    def _complete(self) -> None:
        """Run the study to its end in peace, and compare it."""
        study, name = self.study, self.study.folder.name
        self.studies += 1
        for driver in study.drivers:
            driver.process.wait(timeout=600)
        if study.tampered or study.ledger_is_cut or study.drivers[-1].process.returncode:
            self._run_in_peace(study)
        if code := study.drivers[-1].process.returncode:
            self.violations.append(f"{name}: the last run ended with {code}")
        self._look_at_ended()
        trained, counts = training_faults(study, self.undisturbed)
        found = [
            *trained,
            *teacher_faults(study),
            *store_differences(study, self.undisturbed),
            *ledger_differences(study, self.undisturbed),
        ]
        garbage, named = garbage_faults(study, self.undisturbed)
        found += garbage
        self.violations += [f"{name}: {one}" for one in found]
        if any(line.startswith(name) for line in self.violations):
            for driver in study.drivers:
                print(f"--- {name}/{driver.log.name}", *driver.last_said(40), sep="\n    ")
        print(f"{name}, disturbed {len(study.disturbed)} times: {counts}; {len(found) or 'no'} "
              f"differences; gc named {named or 'nothing'}", flush=True)  # fmt: skip

    def _run_in_peace(self, study: StudyFolder) -> None:
        """Run until all is done and what was cut is found, by who reads it or by `verify`."""
        tries = 3 if study.tampered or study.ledger_is_cut else 1
        while self._start(joins=False).process.wait(timeout=600) != 0 and tries > 1:
            tries -= 1
        verified = study.wsss("store", "verify", str(study.store), "--quarantine")
        if verified.returncode:
            corrupt = set(re.findall(r"corrupt: (\w+)/(\w+):", verified.stderr))
            self.violations += [
                f"{study.folder.name}: {'/'.join(one)} is corrupt, and nobody cut it"
                for one in corrupt - set(study.tampered)
            ]
            self._start(joins=False).process.wait(timeout=600)

    def stop(self) -> None:
        """End all that was started; a process of a study that outlived it is a violation."""
        for driver in self.study.drivers:
            if driver.lives:
                end([driver.process.pid])
        if self.cluster is not None:
            self.cluster.stop()
        deadline = time.monotonic() + 60
        while (left := processes_of(self.base)) and time.monotonic() < deadline:
            time.sleep(0.5)
        self.violations += [f"process {pid} is left: {title}" for pid, title in left.items()]
        end(list(left))
