"""Every bench, one after another: `make bench`, or `python bench/run.py NAME...` for some.

Run it on a quiet machine; figures belong in docs/benchmarks.md with date, hardware and command.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import date
from pathlib import Path

HERE = Path(__file__).resolve().parent
NOT_BENCHES = (
    "run",
    "peers",
    "loopback",
    "doses",
    "gpu",
    "gpu_training",
    "gpu_evaluation",
)  # doses needs an adapter


def main() -> None:
    """Runs the named benches, or all; a bench that fails does not stop the others, but the exit
    code tells.
    """
    known = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in NOT_BENCHES)
    asked = sys.argv[1:] or known
    unknown = [name for name in asked if name not in known]
    if unknown:
        sys.exit(f"error: no bench {unknown[0]}; there are: {', '.join(known)}")
    cpu = next(
        (
            line
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "",
    )
    print(
        f"{date.today()}, {cpu.partition(':')[2].strip() or platform.processor()}, Python "
        f"{platform.python_version()}"
    )
    codes = [
        subprocess.run([sys.executable, str(HERE / f"{name}.py")]).returncode for name in asked
    ]
    sys.exit(max(codes))


if __name__ == "__main__":
    main()
