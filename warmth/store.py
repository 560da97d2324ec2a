"""Run folders: found by content, locked while in use, written row by row, sealed by `done.json`
last.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from warmth.digest import data_identity, digest
from warmth.errors import UserError, one_line
from warmth.paths import COMMIT, ROOT

# how often the holder of a run touches its lock, for machines that cannot see the lock itself
BEAT_S = 20.0
STALE_S = 120.0  # a lock of another machine that was not touched for so long belongs to nobody
# of an evaluation: when its first answer was asked for, copied ones included
FIRST_ANSWER = "first_answer.json"
PROGRESS = "progress.json"  # of the stage under way, for `warmth status`; gone when it ends
PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "deepspeed",
    "accelerate",
    "datasets",
    "statsmodels",
    "scipy",
    "wandb",
)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not JSON: {one_line(error)}") from error


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all.

    Raises:
        OSError: the disk is full or the file cannot be written; it names the path, and no part of
        the file stays.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a JSONL file. A last line without its newline was cut by a kill and is left
    out.

    Raises:
        UserError: a whole line is not a JSON object (file and line are named).
    """
    if not path.exists():
        return
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.endswith(b"\n"):
                return
            try:
                row = json.loads(line.decode("utf-8"))
            except ValueError as error:  # of JSON, or of UTF-8
                raise UserError(f"{path} line {number} is not JSON") from error
            if not isinstance(row, dict):
                raise UserError(f"{path} line {number} is not a JSON object")
            yield row


def objects_in(lines: Iterable[str | bytes]) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects among lines; a line that is torn, no JSON or no object is passed
    over.
    """
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row


def read_helpful_rows(
    path: Path, is_whole: Callable[[dict[str, Any]], bool]
) -> list[dict[str, Any]]:
    """Read the rows of a JSONL file that only helps, such as speeds measured before: what is
    damaged is skipped.

    The first damaged line is named once on standard error; a file that is not there has no rows.

    Args:
        path: the file.
        is_whole: says whether a row has what its reader needs.
    """
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    damaged: list[int] = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            row = json.loads(line)
            is_usable = isinstance(row, dict) and is_whole(row)
        except (ValueError, TypeError, KeyError):
            is_usable = False
        if is_usable:
            rows.append(row)
        else:
            damaged.append(number)
    if damaged:
        print(
            f"{path} line {damaged[0]}: {len(damaged)} damaged rows of this file are skipped",
            file=sys.stderr,
        )
    return rows


class Run:
    """One run's folder, held by one process at a time.

    Use as a context manager: an exception marks it failed.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._released = threading.Event()
        self._opened = time.monotonic()
        self._attempts = 1
        self._seconds_before = 0.0  # that earlier attempts took

    @cached_property
    def _lock(self) -> FileLock:
        """Return the lock: beside the folder, which may be removed while it is held, and open to
        all who share it.
        """
        return FileLock(str(self.folder) + ".lock", mode=0o666)

    @property
    def name(self) -> str:
        """`<model>-<recipe>-s<seed>-<digest>`."""
        return self.folder.name

    @property
    def progress_folder(self) -> Path | None:
        """Return where stages keep `progress.json`; None if another process keeps it."""
        return self.folder

    @property
    def digest(self) -> str:
        """Return the part of the name that identifies the run."""
        return self.name.rsplit("-", 1)[-1]

    @property
    def done(self) -> bool:
        """Tell whether every stage finished, and every file it left is still there (a folder may be
        copied by half).
        """
        try:
            files = json.loads((self.folder / "done.json").read_text(encoding="utf-8")).get(
                "files", {}
            )
            return all(_is_whole(self.folder / name, size) for name, size in files.items())
        except (OSError, ValueError, AttributeError):
            return False

    def is_held(self) -> bool:
        """Tell whether a process works on this run, here (it has the lock) or elsewhere (it touched
        it lately).
        """
        if self._holder() == socket.gethostname():
            return is_locked(Path(self._lock.lock_file))
        try:
            return clock(self.folder.parent) - os.stat(self._lock.lock_file).st_mtime < STALE_S
        except OSError:
            return False

    def _last_touched(self) -> float:
        """When the run's lock was last touched, by the file system's clock; 0.0 where there is
        none.
        """
        try:
            return os.stat(self._lock.lock_file).st_mtime
        except OSError:
            return 0.0

    def _count_attempts(self, last_touched: float) -> None:
        """Count this attempt, and add up what earlier ones took; one that was killed lasted until
        its last touch.
        """
        before = self.last_status()
        attempts = before.get("attempts")
        seconds = before.get("seconds")
        if not isinstance(attempts, int) or not isinstance(seconds, int | float):
            return  # the first, or a status that cannot be read
        self._attempts = 1 if before.get("state") == "done" else attempts + 1
        self._seconds_before = float(seconds)
        if before.get("state") == "running":
            began = os.stat(self.folder / "status.json").st_mtime
            self._seconds_before += max(0.0, last_touched - began)

    @property
    def seconds(self) -> float:
        """Return how long this run has been worked on, over all attempts."""
        return round(self._seconds_before + time.monotonic() - self._opened, 1)

    def _holder(self) -> str:
        """Name the machine that last wrote the status; this one where there is none."""
        return str(self.last_status().get("host", socket.gethostname()))

    def open(self, config: Any) -> Run:
        """Creates the folder, takes the lock, writes `config.json` and `provenance.json`.

        Raises:
            UserError: another process holds the run, or the folder cannot be written.
        """
        last_touched = self._last_touched()
        self._acquire()
        self._count_attempts(last_touched)
        os.utime(self._lock.lock_file)
        self._opened = time.monotonic()
        self._released.clear()
        threading.Thread(target=self._beat, daemon=True).start()
        if getattr(config, "rerun", None) == "all":
            self._put_aside()
            self._attempts = 1
            self._seconds_before = 0.0
        drop_partial_files(self.folder)  # of a writer that was killed
        for path in self.folder.glob("*.jsonl"):
            drop_torn_line(path)
        write_json(self.folder / "config.json", full_config(config))
        path = self.folder / "provenance.json"
        now = collect_provenance()
        write_json(
            path, now | {"earlier": earlier_commits(read_json(path), now) if path.exists() else []}
        )
        self.status("running")
        return self

    def _acquire(self) -> None:
        """Take the lock of the run's folder, which is created.

        Raises:
            UserError: another process holds the run, or the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # a look by `is_held` takes it for a moment
            self._lock.acquire(timeout=1.0, poll_interval=0.02)
        except Timeout as error:
            raise UserError(f"{self.folder} is in use by another process") from error
        except OSError as error:
            raise UserError(f"{self.folder} cannot be written: {error.strerror}") from error
        if (
            self._holder() != socket.gethostname()
            and self.last_status().get("state") == "running"
            and self.is_held()
        ):
            self._lock.release()  # a file system that keeps each machine's locks to itself
            raise UserError(f"{self.folder} is in use by {self._holder()}")

    @property
    def _aside(self) -> Path:
        return self.folder.with_name(f"{self.name}.replaced")

    def put_aside(self) -> None:
        """Move a run that is to be made again beside its folder, if no process holds it.

        Raises:
            UserError: another process holds the run.
        """
        if not self.folder.exists():
            return
        self._acquire()
        try:
            self._put_aside()
        finally:
            self._lock.release()

    def _put_aside(self) -> None:
        """Move what the folder holds beside it, until the run that replaces it is done.

        Without their usual names, the marks of a run are not found by reports and overviews. What
        was put aside by a command that broke is kept instead of what that command left.
        """
        if not any(self.folder.iterdir()):
            return  # there was no run
        if self._aside.exists():
            shutil.rmtree(self.folder)
        else:
            self.folder.rename(self._aside)
            for name in ("done.json", "status.json"):
                if (self._aside / name).exists():
                    (self._aside / name).rename(self._aside / f"{name}.replaced")
        self.folder.mkdir()

    def last_status(self) -> dict[str, Any]:
        """Read what `status.json` says; empty where there is none, or none that can be read."""
        try:
            row = json.loads((self.folder / "status.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return row if isinstance(row, dict) else {}

    def _beat(self) -> None:
        while not self._released.wait(BEAT_S):
            try:
                os.utime(self._lock.lock_file)
            except OSError:
                return  # somebody removed the study

    @contextmanager
    def extended(self) -> Generator[Run]:
        """Hold a finished run while rows are added to it, which stays done; waits for a process
        that does the same.
        """
        self._lock.acquire()
        try:
            for path in self.folder.glob("*.jsonl"):
                drop_torn_line(path)
            yield self
        finally:
            self._lock.release()

    def close(self) -> None:
        """Gives the lock back."""
        self._released.set()
        if self.progress_folder is not None:
            (self.progress_folder / PROGRESS).unlink(missing_ok=True)  # of a stage that broke
        self._lock.release()

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and not self.done:
            drop_partial_files(self.folder)
            state = (
                "interrupted"
                if isinstance(error, KeyboardInterrupt)
                else getattr(error, "state", "failed")
            )
            try:
                self.status(
                    state, one_line(error), last_lines=list(getattr(error, "last_lines", ()))
                )
            except OSError:
                pass  # a full disk must not hide the error that says so
        self.close()

    def status(self, state: str, message: str = "", **more: Any) -> None:
        """Writes `status.json`: running, done, failed or interrupted, and the last lines of a
        failure.

        `attempts` counts this one; `seconds` are those of all attempts until now.
        """
        row = {
            "state": state,
            "message": message,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "time": time.time(),
            "attempts": self._attempts,
            "seconds": self.seconds,
        }
        write_json(self.folder / "status.json", {**row, **more})

    def note_first_answer(self, seconds: float) -> None:
        """Write when an answer was asked for, unless an earlier one is noted; 0 if it is not
        known.
        """
        path = self.folder / FIRST_ANSWER
        if not path.exists() or seconds < float(read_json(path)["time"]):
            write_json(path, {"time": seconds})

    def note_killed(self, message: str) -> None:
        """Write into the status of a run whose process is gone what ended it; what the status
        counted stays.
        """
        row = self.last_status()
        began = os.stat(self.folder / "status.json").st_mtime
        seconds = float(row.get("seconds", 0.0)) + max(0.0, self._last_touched() - began)
        row |= {"state": "killed", "message": message, "seconds": round(seconds, 1)}
        write_json(self.folder / "status.json", row)

    def rows(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of `<name>.jsonl` so far."""
        return read_rows(self._path(name))

    def append(self, name: str, rows: Iterable[Any]) -> None:
        """Adds rows to `<name>.jsonl` and makes them durable; a kill loses at most the rows of this
        call.
        """
        append_rows(self._path(name), rows)

    def keep(self, name: str, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Writes `<name>.jsonl` anew, whole or not at all, with the rows that are wanted."""
        path = self._path(name)
        if not path.exists():
            return
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        partial.unlink(missing_ok=True)  # of a process that was killed and had this number
        try:
            append_rows(partial, filter(wanted, self.rows(name)))
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Seals the run: `summary.json`, then the status, then `done.json`."""
        write_json(self.folder / "summary.json", dict(summary))
        self.status("done")
        # nor the words of processes: nothing is found again by them
        skipped = (
            "done.json",
            "status.json",
            PROGRESS,
        )
        files = (
            path
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and path.suffix not in (".partial", ".log")
        )
        sizes = {
            str(path.relative_to(self.folder)): path.stat().st_size
            for path in files
            if path.name not in skipped
        }
        write_json(
            self.folder / "done.json",
            {"time": time.time(), "seconds": self.seconds, "files": sizes},
        )
        # of rerun=all: the old run is kept until the new one is whole
        shutil.rmtree(self._aside, ignore_errors=True)


def _is_whole(path: Path, size: int) -> bool:
    """Tell whether a file is as large as it was; rows may be added, and what an opened run rewrites
    may differ.
    """
    current_size = path.stat().st_size
    return (
        current_size >= size
        if path.suffix == ".jsonl"
        else current_size == size or path.suffix == ".json"
    )


def is_locked(path: Path) -> bool:
    """Tell whether a process of this machine holds the lock, without creating or keeping it."""
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def clock(folder: Path) -> float:
    """Now, by the clock that times this folder's files: clocks of machines that share it may differ
    by minutes.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            return os.fstat(probe.fileno()).st_mtime
    except OSError:
        return time.time()


def _row(row: Any) -> dict[str, Any]:
    return asdict(row) if is_dataclass(row) and not isinstance(row, type) else row


def append_rows(path: Path, rows: Iterable[Any]) -> None:
    """Add rows to a JSONL file and wait until the disk has them.

    Raises:
        OSError: the disk is full or the file cannot be written; it names the path.
    """
    lines = "".join(
        json.dumps(_row(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows
    )
    try:
        with path.open("ab") as stream:
            stream.write(lines.encode("utf-8", errors="backslashreplace"))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def drop_partial_files(folder: Path) -> None:
    """Remove the files that a writer left unfinished, as on a full disk; nothing here may hide why
    it ended.
    """
    for path in folder.rglob("*.partial"):
        if path.is_file():
            path.unlink(missing_ok=True)


def drop_torn_line(path: Path) -> None:
    """Cuts a file after its last newline, so that the next row starts a line of its own."""
    with path.open("rb+") as stream:
        end = stream.seek(0, os.SEEK_END)
        while end > 0:
            step = min(65536, end)
            stream.seek(end - step)
            block = stream.read(step)
            newline = block.rfind(b"\n")
            if newline >= 0:
                stream.truncate(end - step + newline + 1)
                return
            end -= step
        stream.truncate(0)


def run_folder(config: Any, stage: str, identity: str) -> Path:
    """`<output>/<study>/<stage>/<model>-<recipe>-s<seed>-<digest>`; the seed is 0 where nothing is
    trained.
    """
    seed = config.seed if config.recipe.method != "none" else 0
    name = f"{config.model.name}-{config.recipe.name}-s{seed}-{identity}"
    return Path(config.output) / config.study / stage / name


def find_run(root: Path, study: str, stage: str, identity: str) -> Path | None:
    """Find the folder of the run with this digest, whatever its recipe was called; None if there is
    none.
    """
    folders = sorted((root / study / stage).glob(f"*-{identity}"))
    return folders[0] if folders else None


def set_folder(config: Any) -> Path:
    """`<output>/<study>/data/<name>-<digest>`: where the set that a config trains on is, or will be
    built.
    """
    name = f"{config.data.name}-{digest(data_identity(config.data, config.recipe))}"
    return Path(config.output) / config.study / "data" / name


def full_config(config: Any) -> Any:
    """Turn a config into plain values, everything included."""
    return asdict(config)


def collect_provenance() -> dict[str, Any]:
    """Collect where and with what a run was made: commit, versions, machine.

    Nothing here enters a digest.
    """
    commit, dirty = code_version()
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = None
    return {
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "packages": packages,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def code_version() -> tuple[str | None, bool | None]:
    """Return the commit of this code and whether files were changed since; None where that is not
    known.

    An installed wheel names the commit that it was built from. It is never asked of git: the
    environment may stand in a clone of something else.
    """
    if COMMIT.is_file():
        commit = COMMIT.read_text(encoding="utf-8").strip()
        return (commit, False) if commit else (None, None)
    if not (ROOT / ".git").exists():
        return None, None
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return _git("rev-parse", "HEAD"), None if changes is None else bool(changes)


def earlier_commits(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List the commits, other than today's, at which a run was made until now: it may be continued
    or regraded.
    """
    previous = before if isinstance(before, Mapping) else {}
    commits = [*(previous.get("earlier") or []), written_commit(previous)]
    return [commit for commit in dict.fromkeys(commits) if commit != written_commit(now)]


def written_commit(provenance: Mapping[str, Any]) -> str:
    """`0123456789ab`, with `+ changes` where some were not committed; `unknown` outside of a
    clone.
    """
    return str(provenance.get("commit") or "unknown")[:12] + (
        " + changes" if provenance.get("dirty") else ""
    )


def _git(*args: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(ROOT), *args], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
