"""Delimiters around material that a model is shown, so that nothing in the material can close
them.
"""

from __future__ import annotations

import hashlib


def delimiter(material: str) -> str:
    """Name a tag that does not occur in some material; the same for the same material."""
    salt = 0
    while True:
        tag = (
            "material-"
            + hashlib.sha256(f"{salt}:{material}".encode(errors="surrogatepass")).hexdigest()[:10]
        )
        if tag not in material:
            return tag
        salt += 1
