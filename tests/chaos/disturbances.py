"""What a round does to a study while it runs; each says in a few words what it did."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from cluster import LossyCluster
from processes import busy_workers, descendants, end, lives, signalled
from study_folder import STAGES, Driver, StudyFolder

KINDS = ("driver", "worker", "node", "storage", "stop", "tamper", "freeze", "hang")

NOTICED_S = 180.0
"""Seconds after which a driver should have ended a worker that hangs, on a busy machine."""

LEASE_EXPIRY_S = float(os.environ.get("WSSS_LEASE_EXPIRY", "10"))


class Disturbances:
    """Disturbs one study after another.

    Args:
        random: draws whatever is not given.
        scratch: below which everything that belongs to the chaos run has files open.
        cluster: whose nodes are lost, if there is one.
        violations: what should not have happened is added to it.

    """

    def __init__(
        self,
        random: random.Random,
        scratch: Path,
        cluster: LossyCluster | None,
        violations: list[str],
    ) -> None:
        self._random = random
        self._scratch = scratch
        self._cluster = cluster
        self._violations = violations

    def do(self, kind: str, study: StudyFolder, driver: Driver) -> str | None:
        """Disturb a study; None if by now there is nothing left to disturb in that way."""
        return {
            "driver": self._driver,
            "worker": self._worker,
            "node": self._node,
            "storage": self._storage,
            "stop": self._stop,
            "tamper": self._tamper,
            "freeze": self._freeze,
            "hang": self._hang,
        }[kind](study, driver)

    def _driver(self, study: StudyFolder, driver: Driver) -> str:
        end([driver.process.pid])
        driver.process.wait()
        return f"{driver.log.stem} killed"

    def _worker(self, study: StudyFolder, driver: Driver) -> str | None:
        if not _until(lambda: bool(busy_workers(self._scratch)) or not driver.lives, 60):
            return None
        workers = busy_workers(self._scratch)
        if not workers or not driver.lives:
            return None
        process = self._random.choice(sorted(workers))
        end([process])
        return f"worker {workers[process].split()[0]} killed"

    def _node(self, study: StudyFolder, driver: Driver) -> str | None:
        if self._cluster is None or not driver.joined:
            return self._worker(study, driver)
        return f"lost {self._cluster.exchange_a_node(self._random)}"

    def _storage(self, study: StudyFolder, driver: Driver) -> str | None:
        """Take a folder away as a file system that is unmounted, and bring it back."""
        place = self._random.choice([study.results, study.store])
        empty = self._random.random() < 0.5
        seconds = self._random.uniform(1, 5)
        away = study.folder / "away"
        place.rename(away)
        if empty:
            place.mkdir()
        time.sleep(seconds)
        if place.exists():
            # What was written below the mount point is hidden once the file system is back.
            hidden = study.folder / f"hidden-{time.time_ns()}"
            place.rename(hidden)
            found = [entry.relative_to(hidden).as_posix() for entry in hidden.rglob("*")]
            if found or not empty:
                self._violations.append(
                    f"{study.folder.name}: while {place.name} was away, {found or 'the folder'} "
                    "was made in its place"
                )
        away.rename(place)
        as_what = "an empty mount point" if empty else "not there"
        return f"{place.name} was {as_what} for {seconds:.1f} s"

    def _stop(self, study: StudyFolder, driver: Driver) -> str | None:
        """Ctrl-C reaches all that the terminal runs in the foreground; a batch system's end one."""
        interrupt = self._random.random() < 0.5
        before = time.monotonic()
        if interrupt:
            os.killpg(driver.process.pid, signal.SIGINT)
        else:
            os.kill(driver.process.pid, signal.SIGTERM)
        what = f"{driver.log.stem} {'interrupted' if interrupt else 'terminated'}"
        if not _until(lambda: not driver.lives, 120):
            self._violations.append(f"{study.folder.name}: {what}, and it did not end in 120 s")
            driver.abort()
        return f"{what}, ended with {driver.process.wait()} in {time.monotonic() - before:.1f} s"

    def _freeze(self, study: StudyFolder, driver: Driver) -> str | None:
        """Stop a driver and its workers beyond their leases; another driver goes on meanwhile."""
        processes = [driver.process.pid, *descendants(driver.process.pid)]
        for process in processes:
            signalled(process, signal.SIGSTOP)
        other = study.start()
        seconds = LEASE_EXPIRY_S * self._random.uniform(1.2, 3)
        _until(lambda: not other.lives, seconds)
        for process in processes:
            signalled(process, signal.SIGCONT)
        went_on = f"{other.log.stem} went on"
        return f"{driver.log.stem} stood still for up to {seconds:.0f} s, {went_on}"

    def _hang(self, study: StudyFolder, driver: Driver) -> str | None:
        """Let a worker make no progress for ever, and wait until its driver has ended it."""
        if self._random.random() < 0.5:
            how, before = "sleeps for ever", len(study.hung())
            study.hang.touch()
            _until(lambda: len(study.hung()) > before or not driver.lives, 60)
            study.hang.unlink(missing_ok=True)
            chosen = study.hung()[before:]
        else:
            _until(lambda: bool(busy_workers(self._scratch)) or not driver.lives, 60)
            workers = busy_workers(self._scratch)
            chosen = self._random.sample(sorted(workers), len(workers))
            for process in chosen[:1]:
                how = f"({workers[process].split()[0]}) stands still for ever"
                signalled(process, signal.SIGSTOP)
        if not chosen:
            return None
        process = chosen[0]
        began = time.monotonic()
        if not _until(lambda: not lives(process) or not driver.lives, NOTICED_S):
            self._violations.append(
                f"{study.folder.name}: a worker that {how} was not ended in {NOTICED_S:.0f} s"
            )
            end([process])
        return f"a worker {how}, and was ended after {time.monotonic() - began:.0f} s"

    def _tamper(self, study: StudyFolder, driver: Driver) -> str | None:
        """Cut, delete or change a file: of an artifact, of the ledger or a checkpoint."""
        killed = ""
        if self._random.random() < 0.5:
            killed = f"{self._driver(study, driver)}, "
        places = [f"store/{stage}/[!.]*" for stage in STAGES]
        self._random.shuffle(places)
        places.insert(self._random.randrange(3), "ledger/*")
        places.insert(self._random.randrange(3), "store/unfinished/*")
        for place in places:
            files = sorted(
                file for folder in study.results.glob(place) for file in folder.rglob("[!.]*")
                if file.is_file()
            )  # fmt: skip
            if files:
                file = self._random.choice(files)
                how = self._damage(file)
                name = file.relative_to(study.results)
                if name.parts[0] == "store":
                    study.tampered.append((name.parts[1], name.parts[2]))
                else:
                    study.ledger_is_cut = True
                return f"{killed}{name} {how}"
        return killed or None

    def _damage(self, file: Path) -> str:
        """Damage a file as a cut, a lost file or a bit that rots; return what was done."""
        how = self._random.choice(["cut to half", "deleted", "changed in a bit"])
        size = file.stat().st_size
        if how == "deleted":
            file.unlink()
        elif how == "cut to half" or not size:
            os.truncate(file, size // 2)
        else:
            at = self._random.randrange(size)
            with file.open("r+b") as opened:
                opened.seek(at)
                byte = opened.read(1)[0] ^ (1 << self._random.randrange(8))
                opened.seek(at)
                opened.write(bytes([byte]))
        return how


def _until(holds: Callable[[], bool], seconds: float) -> bool:
    """Wait until something holds; False if it does not in that time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
