"""One evaluation by several processes: each answers the prompts of its shard into a file of its
own.

`shard=2/4` answers a quarter, on any machine that sees the study's folder; the same command without
it takes over all that shards answered, adds what is missing, and grades. `processes=4` starts them,
each on its own GPUs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from warmth import child_logs, devices
from warmth.children import before_start
from warmth.errors import KEEPS_TRACEBACKS, RunFailed, UserError, guarded
from warmth.evaluation.progress import Meter
from warmth.gpus import gpus_of_process
from warmth.schemas import Evaluate
from warmth.store import Run, drop_torn_line, full_config
from warmth.types import Prompt

POLL_S = 0.5  # between two looks at the processes


class Shard(Run):
    """The part of a run folder that one process writes. Nothing else in the folder is touched."""

    def __init__(self, folder: Path, part: int, of: int):
        super().__init__(folder)
        self._suffix = f"{part}-{of}.shard"
        self._lock = FileLock(f"{folder}.{part}-{of}.lock", mode=0o666)

    @property
    def progress_folder(self) -> None:
        """None: the command that started the shards says how far all of them are."""
        return None

    def open(self, config: Any) -> Shard:
        """Take the shard's lock.

        Raises:
            UserError: another process answers this shard.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise UserError(
                f"shard={config.shard} of {self.folder} is being answered by another process"
            ) from error
        for path in self.folder.glob(f"*.{self._suffix}"):
            drop_torn_line(path)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.{self._suffix}"


def part_of(shard: str) -> tuple[int, int]:
    """Return `2/4` as (2, 4).

    Raises:
        UserError: it is something else.
    """
    shard_number, _, shard_count = shard.partition("/")
    if not (
        shard_number.isdecimal()
        and shard_count.isdecimal()
        and 1 <= int(shard_number) <= int(shard_count)
    ):
        raise UserError(f"shard={shard} must be PART/ALL, such as 1/4")
    return int(shard_number), int(shard_count)


def own(prompts: Iterable[Prompt], part: int, of: int) -> Iterator[Prompt]:
    """Yield the prompts of one shard: disjoint from the others', and all of them together are all
    prompts.
    """
    for prompt in prompts:
        if int(prompt.prompt_id, 16) % of == part - 1:
            yield prompt


def answer_shard(study: Evaluate) -> None:
    """Answer one shard, and nothing else."""
    from warmth.api import Servers
    from warmth.build import build
    from warmth.evaluation.answer import answers, arms, edited
    from warmth.evaluation.ask import designs, rivals, tasks
    from warmth.evaluation.grade import graders, live
    from warmth.evaluation.identity import folder_of

    shard_number, shard_count = part_of(study.shard or "")
    run = Run(folder_of(study))
    servers = Servers(study)
    arm = arms.find_arm(study)
    if run.done:
        print(f"done already: {run.folder}")
        return
    engine = build(study.engine, "engine").bind(arm, servers)
    servers.check()
    questions = tasks.load_answered(study, rivals.writer_of(study, servers))
    engine = edited.edited_engine(engine, arm, study, questions, run)
    prompts = own(designs.prompts(study, questions), shard_number, shard_count)
    watch = live.RunningError(questions, graders.graders_of(study, servers), study)
    with Shard(run.folder, shard_number, shard_count).open(study) as shard:
        total = sum(1 for _ in own(designs.prompts(study, questions), shard_number, shard_count))
        speed = answers.answer_prompts(
            shard,
            "answers",
            engine,
            arm,
            prompts,
            sampling=study.sampling,
            samples=study.samples,
            draw_seed=study.draw_seed,
            total=total,
            watch=watch,
        )
    print(
        f"shard {shard_number} of {shard_count}: {speed['generated']:.0f} answers in {run.folder}"
    )


def start_shards(study: Evaluate, run: Path, total: int) -> None:
    """Start a process for each shard and wait for all; with GPUs each sees its share of the
    parent's.

    Each keeps its words in `<run>/logs/shard-PART-ALL.log`.

    Args:
        study: its config.
        run: the run folder.
        total: answers that all shards together will have made.

    Raises:
        UserError: the input of a shard was refused.
        RunFailed: a shard failed; the line quotes the first, and what the others answered is kept.
    """
    number = study.processes
    shares = devices.divide_gpus(devices.visible_gpus(), number, gpus_of_process(study))
    (run / "logs").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        children = []
        for shard_number in range(1, number + 1):
            path = Path(folder) / f"{shard_number}.json"
            path.write_text(
                json.dumps(
                    {**full_config(study), "shard": f"{shard_number}/{number}", "processes": 1}
                )
            )
            env = {**os.environ, "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // number))}
            command = [sys.executable, "-m", "warmth.evaluation.shards", str(path)]
            environment = devices.child_environment(
                shares[shard_number - 1], {**env, KEEPS_TRACEBACKS: "1"}
            )
            with shard_log(run, shard_number, number).open("wb") as stream:
                child = subprocess.Popen(
                    command,
                    env=environment,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    preexec_fn=before_start(),
                )
            children.append(child)
        try:
            failed = follow_shards(children, run, total)
        except BaseException:
            for child in children:
                child.terminate()
            raise
    if failed:
        refuse_failed(run, failed, [child.returncode for child in children])


def shard_log(run: Path, part: int, of: int) -> Path:
    """Return the file with everything that a shard printed."""
    return run / "logs" / f"shard-{part}-{of}.log"


def follow_shards(children: Sequence[subprocess.Popen[bytes]], run: Path, total: int) -> list[int]:
    """Show how many answers all shards have, until all have ended; returns those that failed, in
    that order.
    """
    failed: list[int] = []
    seen = answered(run)
    with Meter("shards", "answers", total, run) as meter:
        meter.skip(seen)
        while True:
            is_running = False
            for shard_number, child in enumerate(children, 1):
                if child.poll() is None:
                    is_running = True
                elif child.returncode and shard_number not in failed:
                    failed.append(shard_number)
            now = answered(run)
            meter.add(now - seen)
            seen = now
            if not is_running:
                return failed
            time.sleep(POLL_S)


def answered(run: Path) -> int:
    """Count the answers that all shards have written so far."""
    return sum(map(count_lines, run.glob("answers.*.shard")))


def count_lines(path: Path) -> int:
    """Count the rows of a file that somebody may be writing."""
    with path.open("rb") as stream:
        return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))


def refuse_failed(run: Path, failed: Sequence[int], codes: Sequence[int]) -> None:
    """Raise what the shard that failed first said, as one line.

    Raises:
        UserError: its input was refused.
        RunFailed: anything else.
    """
    first_failed = failed[0]
    shard_count = len(codes)
    log = shard_log(run, first_failed, shard_count)
    line = child_logs.error_line(log).removeprefix("error: ")
    if codes[first_failed - 1] == 2:
        raise UserError(line)
    names = ", ".join(f"{shard_number}/{shard_count}" for shard_number in sorted(failed))
    error = RunFailed(
        f"shard {names} failed, the same command continues; all words of the first: {log}: {line}"
    )
    error.last_lines = tuple(child_logs.last_lines(log))
    raise error


@guarded
def main() -> None:
    """Answer the shard of a config file: `python -m warmth.evaluation.shards CONFIG.json`."""
    from omegaconf import OmegaConf

    from warmth.config import strict
    from warmth.evaluation.points import points_of_study

    study = strict(
        OmegaConf.create(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))), Evaluate
    )
    for point in points_of_study(study, in_sweep=False):
        answer_shard(point)


if __name__ == "__main__":
    main()
