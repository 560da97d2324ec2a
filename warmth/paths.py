"""Where the project's own files are: configs, prompts, seed data, and the two scripts."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).resolve().parent
# A clone has them beside the package; a wheel carries them inside it (setup.py).
IN_WHEEL = (PACKAGE / "files").is_dir()
ROOT = PACKAGE / "files" if IN_WHEEL else PACKAGE.parent
COMMIT = ROOT / "COMMIT"  # of a wheel: the commit that it was built from


def script(name: str) -> ModuleType:
    """Load `train.py` or `evaluate.py` as a module, whose `main` is the command."""
    spec = importlib.util.spec_from_file_location(f"warmth_{name}", ROOT / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where a data class of the script looks up its annotations
    spec.loader.exec_module(module)
    return module
