"""Role headers and special tokens of chat templates that stand in an answer's text."""

import re

# A turn that begins with a role's name, or a chat template's own tokens anywhere: the arms were
# prompted differently.
HEADER = re.compile(
    r"^\s*(?:assistant|user|system|human|model)\s*(?::|\n|$)|^\s*assistant(?=(?-i:[A-Z]))"
    r"|<\|[a-z0-9_]+\|>|<｜[^｜\n]{1,40}｜>|</?s>|\[/?(?:INST|SYS|SYSTEM_PROMPT)\]|<(?:start|end)_of_turn>|<</?SYS>>",
    re.IGNORECASE,
)
