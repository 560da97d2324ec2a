"""Which server a key may be sent to.

The variable that a shipped entry names belongs to that entry's server alone.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import yaml

from warmth.errors import UserError
from warmth.paths import ROOT

NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
LONG = 20  # characters from which a name with small letters and digits is more likely a key


def check_key(base_url: str, variable: str) -> None:
    """Check the name of the variable that holds a server's key, before its value is read.

    Args:
        base_url: the server's address.
        variable: the variable's name.

    Raises:
        UserError: it is no name, but perhaps a key, which is not shown; or it belongs to another
        server.
    """
    is_name = NAME.fullmatch(variable) is not None
    is_mixed = any(map(str.islower, variable)) and any(map(str.isdigit, variable))
    if not is_name or (len(variable) >= LONG and is_mixed):
        raise UserError(
            "api_key_env must be the NAME of an environment variable; "
            "what is given looks like the key itself, so it is not shown: "
            "put the key into a variable, and give that variable's name"
        )
    hosts = owners().get(variable, frozenset())
    host = urlsplit(base_url).hostname or ""
    if hosts and not any(host == owner or host.endswith(f".{owner}") for owner in hosts):
        raise UserError(
            f"api_key_env={variable} belongs to {', '.join(sorted(hosts))}, and "
            f"base_url={base_url} is another server; give the NAME of the variable with its own "
            "key, or null if it needs none"
        )


@cache
def owners() -> dict[str, frozenset[str]]:
    """Collect the variables that the entries of conf/ name, each with the hosts it is for."""
    hosts_of: dict[str, set[str]] = {}
    for file in sorted((ROOT / "conf").rglob("*.yaml")):
        _collect(yaml.safe_load(file.read_text(encoding="utf-8")), hosts_of)
    return {variable: frozenset(hosts) for variable, hosts in hosts_of.items()}


def _collect(value: Any, hosts_of: dict[str, set[str]]) -> None:
    """Add the variables of one entry, however deep they stand in it."""
    if not isinstance(value, dict):
        return
    variable = value.get("api_key_env")
    host = urlsplit(str(value.get("base_url") or "")).hostname
    if variable and host:
        hosts_of.setdefault(str(variable), set()).add(host)
    for child in value.values():
        _collect(child, hosts_of)
