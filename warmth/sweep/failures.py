"""What went wrong in a sweep so far, which of it came first, and whether it is enough to stop."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

NO_SPACE = "no space left on device"


@dataclass(frozen=True)
class JobEnd:
    """How one job of a sweep failed."""

    error: BaseException
    time: float  # seconds since 1970
    log: Path | None


@dataclass
class Failures:
    """What went wrong so far, and whether it is enough to stop."""

    most: int | None  # `stop_after_failures`
    ends: dict[str, JobEnd] = field(default_factory=dict)  # by the job's name
    is_disk_full: bool = False
    _counted: set[str] = field(default_factory=set)

    def add(
        self, name: str, error: BaseException, log: Path | None = None, ended: float | None = None
    ) -> None:
        """Note that a job failed, and when; of a full disk that no further one is to be started."""
        self.ends[name] = JobEnd(error, time.time() if ended is None else ended, log)
        self._counted.add(name)
        if is_about_space(error):
            self.is_disk_full = True

    def add_consequence(self, name: str, error: BaseException) -> None:
        """Note that a job failed because another did, which does not count towards
        `stop_after_failures`.
        """
        self.ends[name] = JobEnd(error, time.time(), None)

    @property
    def errors(self) -> dict[str, BaseException]:
        """Return the error of each failed job, by its name."""
        return {name: end.error for name, end in self.ends.items()}

    @property
    def first(self) -> str | None:
        """Name the job that failed first; None if none did."""
        return min(self.ends, key=lambda name: self.ends[name].time, default=None)

    @property
    def reached(self) -> bool:
        """Say whether no further job is to be started."""
        return self.is_disk_full or (self.most is not None and len(self._counted) >= self.most)

    @property
    def reason(self) -> str:
        """Say why no further job is started."""
        if self.is_disk_full:
            return "the disk is full"
        return f"stop_after_failures={self.most}"


def is_about_space(error: BaseException) -> bool:
    """Say whether a job failed because the disk is full."""
    return (isinstance(error, OSError) and error.errno == 28) or NO_SPACE in str(error).lower()
