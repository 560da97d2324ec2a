"""What pyproject.toml cannot say: the wheel holds folders and scripts that stand beside it.

`warmth/paths.py` finds them in `warmth/files/` of an installed wheel, and beside the package in a
clone or an editable install, which maps nothing.
"""

import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
FOLDERS = ("conf", "prompts", "seed")
SCRIPTS = ("train.py", "evaluate.py")


class BuildWithFiles(build_py):
    """Copies the folders and scripts into the package that is built."""

    def run(self) -> None:
        """Build the package; add the files unless the install is editable."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "warmth" / "files"
        shutil.rmtree(target, ignore_errors=True)
        for name in FOLDERS:
            shutil.copytree(
                HERE / name, target / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        for name in SCRIPTS:
            shutil.copy2(HERE / name, target / name)
        (target / "COMMIT").write_text(commit(), encoding="utf-8")


def commit() -> str:
    """Name the commit that is built; an empty string outside of a clone.

    Runs of the wheel write it into provenance.json.
    """
    command = ["git", "-C", str(HERE), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


setup(cmdclass={"build_py": BuildWithFiles})
