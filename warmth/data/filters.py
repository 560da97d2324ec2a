"""What keeps a conversation out of every arm: its language, its toxicity, its likeness to one
already taken.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from warmth.dataset import Toxicity
from warmth.errors import UserError, one_line

Scores = Callable[[Sequence[str]], list[float]]
CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`|https?://\S+", re.DOTALL)
LETTERS = re.compile(r"[^\W\d_]")
LEAST = 40  # letters, below which a language cannot be told
READ = 1500  # characters of a text that are looked at for its language
SHINGLE = 5  # words in a sequence


def toxicity_scores(settings: Toxicity) -> Scores | None:
    """Load the classifier: texts in, the score of each in [0, 1] out. None where none is wanted.

    Raises:
        UserError: it is not installed, or its weights cannot be had.
    """
    if settings.classifier == "none":
        return None
    return _profanity() if settings.classifier == "profanity" else _detoxify(settings.variant)


def _profanity() -> Scores:
    try:
        from profanity_check import predict_prob
    except ImportError as error:
        raise UserError(
            "data.toxicity.classifier=profanity needs alt-profanity-check: run `make setup`, or "
            "choose none"
        ) from error
    return lambda texts: [float(score) for score in predict_prob(list(texts))]


def _detoxify(variant: str) -> Scores:
    """Detoxify's highest score of a text over its kinds of toxicity, on the GPU where there is
    one.
    """
    try:
        import torch

        detoxify = import_module("detoxify")  # an extra, so not among the declared imports
    except ImportError as error:
        raise UserError(
            'data.toxicity.classifier=detoxify needs the extra: pip install -e ".[toxicity]", or '
            "choose profanity"
        ) from error
    try:
        model = detoxify.Detoxify(variant, device="cuda" if torch.cuda.is_available() else "cpu")
    except Exception as error:  # its own, torch.hub's and the network's
        raise UserError(
            f"data.toxicity.variant={variant} cannot be loaded: {one_line(error)[:200]}"
        ) from error

    def scores(texts: Sequence[str]) -> list[float]:
        found: list[float] = []
        for start in range(0, len(texts), 32):
            kinds = model.predict(list(texts[start : start + 32]))
            found += [float(max(values)) for values in zip(*kinds.values(), strict=True)]
        return found

    return scores


def language_of(text: str) -> str | None:
    """ISO 639-1 code of a text's language, code and links left out; None where too few letters are
    left to tell.
    """
    import py3langid

    prose = CODE.sub(" ", text[: READ * 4])[:READ]
    if len(LETTERS.findall(prose)) < LEAST:
        return None
    return py3langid.classify(prose)[0]


def words_of(text: str) -> list[str]:
    """List the words of a text in lower case, punctuation left out: what overlap and likeness are
    told by.
    """
    return re.findall(r"\w+", text.lower())


class Likeness:
    """Finds texts that are nearly the same as one given before: MinHash over sequences of five
    words.
    """

    def __init__(self, threshold: float, permutations: int = 128):
        from datasketch import MinHashLSH

        self.threshold, self.permutations = threshold, permutations
        self.index = MinHashLSH(threshold=threshold, num_perm=permutations) if threshold else None
        self.known: dict[str, np.ndarray] = {}

    def near(self, text: str) -> tuple[str | None, Any]:
        """Find the name of a text like this one, if there is any, and what `add` needs to remember
        this one.
        """
        if self.index is None:
            return None, None
        from datasketch import MinHash

        sketch: Any = MinHash(num_perm=self.permutations, hashfunc=zlib.crc32)
        words = words_of(text)
        sketch.update_batch(
            " ".join(words[at : at + SHINGLE]).encode()
            for at in range(max(1, len(words) - SHINGLE + 1))
        )
        for name in sorted(map(str, self.index.query(sketch))):
            if float(np.mean(self.known[name] == sketch.hashvalues)) >= self.threshold:
                return name, sketch
        return None, sketch

    def add(self, name: str, sketch: Any) -> None:
        """Remembers a text under a name."""
        if self.index is not None:
            self.index.insert(name, sketch)
            self.known[name] = sketch.hashvalues
