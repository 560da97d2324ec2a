"""How calls are put to one server: how a schema reaches it, and what else of a call it takes."""

from __future__ import annotations

from dataclasses import dataclass, replace

# How a schema reaches a server, from the best way down. `told` means that it also stands in the
# last message.
LEVELS = ("schema", "schema_told", "object_told", "told")
NEXT_LEVEL = {"schema": "object_told", "schema_told": "object_told", "object_told": "told"}
LIMIT_NAMES = ("max_tokens", "max_completion_tokens")
DROPPABLE = ("temperature", "top_p", "seed")  # parameters without which a call can still be made


@dataclass(frozen=True)
class CallForm:
    """The form of a call, learnt from what a server refuses."""

    level: str = LEVELS[0]
    limit_name: str = LIMIT_NAMES[0]
    left_out: tuple[str, ...] = ()  # parameters that this model does not take

    def changed(self, change: str) -> CallForm | None:
        """Return the form to try after a refusal; None if there is no other.

        Args:
            change: `schema`, `max_tokens`, or the parameter that was refused.
        """
        if change == "max_tokens":
            if self.limit_name != LIMIT_NAMES[0]:
                return None
            return replace(self, limit_name=LIMIT_NAMES[1])
        if change in DROPPABLE:
            if change in self.left_out:
                return None
            return replace(self, left_out=(*self.left_out, change))
        level = NEXT_LEVEL.get(self.level)
        return replace(self, level=level) if level else None

    def both(self, other: CallForm) -> CallForm:
        """Combine what two calls have learnt."""
        level = max(self.level, other.level, key=LEVELS.index)
        limit_name = max(self.limit_name, other.limit_name, key=LIMIT_NAMES.index)
        return CallForm(level, limit_name, tuple(dict.fromkeys((*self.left_out, *other.left_out))))
