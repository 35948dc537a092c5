"""The owner of a lease, as the lease's file holds it: JSON with a digest of its own.

A file that cannot be read (half written, or with a flipped bit) has an owner too, of whom nothing
is known but that the content stands still or changes.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime

from wsss_core.whole_files import ZEROS, fill_digest, holds_digest

_DIGEST = "lease_digest"
_PLACE = f'"{_DIGEST}": "'.encode()


@dataclass(frozen=True)
class LeaseOwner:
    """The process that makes an artifact.

    Attributes:
        stage: the artifact's stage.
        key: the artifact's key.
        token: a random name, new for each lease.
        host: the name of the machine.
        pid: the number of the process there; 0 if the file cannot be read.
        process: tells the process from a later one of the same number, see `this_process`.
        since: when it took the lease, ISO 8601, by its own clock.
        beat: raised with every heartbeat.
        note: its progress in a few words.
        run: the run whose driver started it; that driver knows which of its workers are dead.
        expiry: seconds without a heartbeat after which the owner counts as dead, as it was set for
            the owner; an observer takes the larger of its own and this.
        idle: seconds since the owner's last progress, at the heartbeat.
        stalled_after: seconds without progress that are unusual for this work; 0 if it reports no
            progress.
        epoch_seconds: what an epoch usually takes, once it is known.

    """

    stage: str
    key: str
    token: str
    host: str
    pid: int
    process: str
    since: str
    beat: int = 0
    note: str = ""
    run: str = ""
    expiry: float = 0.0
    idle: float = 0.0
    stalled_after: float = 0.0
    epoch_seconds: float | None = None

    @classmethod
    def from_json(cls, content: bytes, name: str) -> "LeaseOwner":
        """Return the owner that a lease's file names.

        Args:
            content: of the file.
            name: of the lease, `<stage>-<key>`.

        """
        try:
            if not holds_digest(content, _PLACE):
                raise ValueError("it differs from its digest, or holds none")
            kept = json.loads(content)
            return cls(**{f.name: kept[f.name] for f in fields(cls) if f.name in kept})
        except (ValueError, TypeError):
            stage, _, key = name.partition("-")
            return cls(
                stage,
                key,
                token=hashlib.blake2b(content, digest_size=16).hexdigest(),
                host="unknown",
                pid=0,
                process="",
                since=now(),
                note="its lease cannot be read",
            )

    def as_json(self) -> bytes:
        """Return the content of the lease's file."""
        return fill_digest(json.dumps({**asdict(self), _DIGEST: ZEROS.decode()}).encode(), _PLACE)

    def stalls(self, idle: float) -> bool:
        """Return whether so many seconds without progress are unusual for this work."""
        return 0 < self.stalled_after < idle

    @property
    def readable(self) -> bool:
        """Whether the lease's file could be read."""
        return self.pid != 0


def now() -> str:
    """Return the present moment, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
