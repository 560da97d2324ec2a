"""What graders that are code have in common: no server, and a version that nobody has to remember
to raise.
"""

from __future__ import annotations

import ast
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from warmth.digest import digest


class ByRules:
    """A grader that always gives the same verdict, until its code is another."""

    group: ClassVar[str] = "grader"
    offline: ClassVar[bool] = True
    served_model: ClassVar[str | None] = None

    @property
    def rules(self) -> str:
        """Return a digest of the code that decides a verdict."""
        return rules_digest(type(self).__module__)


@lru_cache
def rules_digest(module: str) -> str:
    """Digest a module's source, and that of all it imports from its room or from ours, directly or
    through another.
    """
    room, sources, waiting = module.rpartition(".")[0], {}, [module]
    while waiting:
        name = waiting.pop()
        if name in sources:
            continue
        spec = find_spec(name)
        sources[name] = (
            Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
        )
        for node in ast.walk(ast.parse(sources[name])):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                (f"{room}.", "warmth.evaluation.")
            ):
                waiting.append(str(node.module))
    return digest(sources)
