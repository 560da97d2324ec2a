"""What keeps a conversation out of every arm: language, toxicity, likeness to one already taken."""

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
    """Load the classifier: texts in, the score of each in [0, 1] out. None if none is asked for.

    Raises:
        UserError: it is not installed, or its weights cannot be had.
    """
    if settings.classifier == "none":
        return None
    if settings.classifier == "profanity":
        return _profanity()
    return _detoxify(settings.variant)


def _profanity() -> Scores:
    try:
        from profanity_check import predict_prob
    except ImportError as error:
        raise UserError(
            "data.toxicity.classifier=profanity needs alt-profanity-check: "
            "run `make setup`, or choose none"
        ) from error
    return lambda texts: list(map(float, predict_prob(list(texts))))


def _detoxify(variant: str) -> Scores:
    """Load Detoxify, on the GPU if there is one: a text's highest score over kinds of toxicity."""
    try:
        import torch

        detoxify = import_module("detoxify")  # an extra, so not among the declared imports
    except ImportError as error:
        raise UserError(
            "data.toxicity.classifier=detoxify needs the extra: "
            'pip install -e ".[toxicity]", or choose profanity'
        ) from error
    try:
        model = detoxify.Detoxify(variant, device="cuda" if torch.cuda.is_available() else "cpu")
    except Exception as error:  # its own, torch.hub's and the network's
        raise UserError(
            f"data.toxicity.variant={variant} cannot be loaded: {one_line(error)[:200]}"
        ) from error

    def scores(texts: Sequence[str]) -> list[float]:
        highest: list[float] = []
        for start in range(0, len(texts), 32):
            by_kind = model.predict(list(texts[start : start + 32]))
            highest += np.max(list(by_kind.values()), axis=0).tolist()
        return highest

    return scores


def language_of(text: str) -> str | None:
    """Return the ISO 639-1 code of a text's language, code and links left out.

    None if too few letters are left to tell.
    """
    import py3langid

    prose = CODE.sub(" ", text[: READ * 4])[:READ]
    if len(LETTERS.findall(prose)) < LEAST:
        return None
    return py3langid.classify(prose)[0]


def words_of(text: str) -> list[str]:
    """List the words of a text in lower case, without punctuation, for overlap and likeness."""
    return re.findall(r"\w+", text.lower())


def _shingles(text: str) -> list[bytes]:
    """List every run of five words of a text; one shorter than that as a whole."""
    words = words_of(text)
    count = max(1, len(words) - SHINGLE + 1)
    return [" ".join(words[start : start + SHINGLE]).encode() for start in range(count)]


class Likeness:
    """Finds texts that are nearly the same as one given before.

    MinHash over sequences of five words.
    """

    def __init__(self, threshold: float, permutations: int = 128):
        from datasketch import MinHashLSH

        self.threshold = threshold
        self.permutations = permutations
        self.index = None
        if threshold:
            self.index = MinHashLSH(threshold=threshold, num_perm=permutations)
        self.known: dict[str, np.ndarray] = {}

    def near(self, text: str) -> tuple[str | None, Any]:
        """Find the name of a text like this one, or None, and the sketch of this one for `add`."""
        if self.index is None:
            return None, None
        from datasketch import MinHash

        sketch: Any = MinHash(num_perm=self.permutations, hashfunc=zlib.crc32)
        sketch.update_batch(_shingles(text))
        for name in sorted(map(str, self.index.query(sketch))):
            if float(np.mean(self.known[name] == sketch.hashvalues)) >= self.threshold:
                return name, sketch
        return None, sketch

    def add(self, name: str, sketch: Any) -> None:
        """Remember a text under a name."""
        if self.index is not None:
            self.index.insert(name, sketch)
            self.known[name] = sketch.hashvalues
