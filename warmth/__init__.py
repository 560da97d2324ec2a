"""What does a change of a model's manner cost in truth? Fine-tune, evaluate, grade, compare.

In a notebook: `warmth.train([...])`, `warmth.evaluate([...])`, `warmth.report("multirun/demo")`,
and `warmth.Study.load("multirun/demo")`, whose `answers`, `grades`, `likelihoods` and `warmth` are
pandas frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from warmth.notebook import Page, Study, evaluate, report, train

__version__ = "0.1.0"
__all__ = ["Page", "Study", "__version__", "evaluate", "report", "train"]


def __dir__() -> list[str]:
    """List what a notebook completes after `warmth.`, though nothing of it is imported yet."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Import what a notebook uses when it is first used: `warmth --help` need not wait for it."""
    if name not in __all__:
        raise AttributeError(f"module 'warmth' has no attribute {name!r}")
    from warmth import notebook

    return getattr(notebook, name)
