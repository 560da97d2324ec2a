"""What makes items belong together: a field of a sample's metadata, by the names people use or by
`--cluster`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMES = (
    "cluster",
    "cluster_id",
    "group_id",
    "question_id",
)  # of the field, the first that a sample has
NONE = "none"  # `--cluster none`: every item stands alone


def cluster_of(fields: Mapping[str, Any] | None, name: str | None) -> str | None:
    """Read a sample's cluster.

    Args:
        fields: the sample's metadata.
        name: of the field; None: the first of `NAMES` that is there; `none`: no clusters.

    Returns:
        its label; None if the sample stands alone.
    """
    if not fields or name == NONE:
        return None
    names = NAMES if name is None else (name,)
    for key in names:
        value = fields.get(key)
        if value is not None and value != "":
            return str(value)
    return None
