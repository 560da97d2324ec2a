"""What may stand around a question: statements of a context, the preamble, the sentence that states
a belief.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from warmth.digest import digest, find_file
from warmth.errors import UserError, one_line
from warmth.schemas import Evaluate
from warmth.types import Belief, Question

ARTICLE = re.compile(r"An? [a-z0-9]")  # before a word that is no name
CLAIMS = ("asserted", "denied", "asserted_to_friends", "denied_to_friends")
STATEMENTS = 5  # of each context, one drawn for a question


def draw_statement(
    choices: Sequence[str] | None,
    question: Question,
    context: str,
    draw_seed: int,
    belief: str | None = None,
) -> str:
    """Return the statement put before a question in a context; "" if the context has none.

    It is the same under every belief, unless a belief is given: then each prompt has a draw of its
    own.
    """
    if not choices:
        return ""
    drawn_by = [draw_seed, context, question.task, question.id, *([belief] if belief else [])]
    return choices[int(digest(drawn_by), 16) % len(choices)]


@dataclass(frozen=True)
class Sentences:
    """The sentences by which a user states beliefs, as a file of beliefs holds them."""

    preamble: str
    templates: Mapping[Belief, str]  # with {right} or {wrong}
    # asserted, denied, asserted_to_friends, denied_to_friends: with {claim}
    claims: Mapping[str, str]

    def state(self, belief: Belief, question: Question, after_preamble: bool = False) -> str | None:
        """Return the sentence that states a belief; "" for none, None where the question lacks what
        it names.
        """
        if belief == "none":
            return ""
        side = "wrong" if belief.startswith("wrong_") else "right"
        if self.claims and side in question.claims:
            manner = "asserted" if belief in ("wrong_asserted", "user_right") else "denied"
            template = self.claims[f"{manner}_to_friends" if after_preamble else manner]
            return template.replace("{claim}", question.claims[side])
        answer = question.wrong if side == "wrong" else next(iter(question.answers), None)
        answer = question.stated.get(side, answer)
        if not answer:
            return None
        if belief not in self.templates:
            return None
        # replaced, not formatted: an answer may hold braces
        return self.templates[belief].replace(f"{{{side}}}", within_sentence(answer))


def within_sentence(answer: str) -> str:
    """Return an answer as it stands at the end of a sentence: no full stop of its own, no capital
    on an article.

    "U.S." keeps its stops, and "A Christmas Carol" its capital.
    """
    if answer.endswith(".") and "." not in answer[:-1]:
        answer = answer[:-1]
    return answer[0].lower() + answer[1:] if ARTICLE.match(answer) else answer


def read_statements(name: str, keys: Mapping[str, str | None]) -> dict[str, list[str]]:
    """Return the five statements of each context.

    Args:
        name: the file.
        keys: context → its key there; None where nothing is put before the question.

    Returns:
        context → statements; without those that a file which says `incomplete: true` does not hold.

    Raises:
        UserError: a context has other than five (more, in an incomplete file), or one of them is
        empty or repeated.
    """
    content = read_yaml(find_file(name))
    lists = content.get("statements", content)
    if not isinstance(lists, dict):
        raise UserError(f"{name}: statements must have a list for each context, not {lists!r}")
    incomplete = content.get("incomplete") is True
    statements = {}
    for context, key in keys.items():
        if key is None or (incomplete and key not in lists):
            continue
        statements[context] = _checked(lists.get(key), f"{name}: {key}", incomplete)
    return statements


def statements_of(study: Evaluate) -> dict[str, list[str]]:
    """Find the five statements of each chosen context: those of its entry, else those under its key
    in the file.

    Raises:
        UserError: as `read_statements`.
    """
    keys: dict[str, str | None] = {}
    for name, context in study.condition.items():
        keys[name] = None if context.texts else context.statements
    statements = read_statements(study.statements, keys)
    for name, context in study.condition.items():
        if context.texts:
            statements[name] = _checked(context.texts, f"condition.{name}.texts")
    return statements


def _checked(value: Any, place: str, incomplete: bool = False) -> list[str]:
    texts = []
    if isinstance(value, list):
        texts = [sentence.strip() for sentence in value if isinstance(sentence, str)]
    count = len(set(texts) - {""})
    is_whole = count == STATEMENTS or (incomplete and 0 < count < STATEMENTS)
    if not is_whole or len(texts) != len(value or []):
        raise UserError(
            f"{place} must list {STATEMENTS} different statements, found {len(set(texts))}"
        )
    return texts


def read_sentences(name: str, beliefs: Sequence[Belief]) -> Sentences:
    """Read the preamble, the template of each chosen belief, and the sentences for propositions if
    there are any.

    Raises:
        UserError: a belief has no template, or a template does not name its answer.
    """
    content = read_yaml(find_file(name))
    templates = content.get("templates")
    result: dict[Belief, str] = {}
    for belief in beliefs:
        if belief == "none":
            continue
        text = templates.get(belief) if isinstance(templates, dict) else None
        if text is None and content.get("incomplete") is True:
            continue
        placeholder = "{wrong}" if belief.startswith("wrong_") else "{right}"
        if not isinstance(text, str) or placeholder not in text:
            raise UserError(f"{name}: templates.{belief} must be a sentence with {placeholder}")
        result[belief] = text.strip()
    preamble = content.get("preamble")
    if not isinstance(preamble, str) or not preamble.strip():
        raise UserError(f"{name}: preamble must be a sentence")
    return Sentences(preamble.strip(), result, _claims(name, content.get("claims")))


def beliefs_file(study: Evaluate) -> str:
    """Return the file of the sentences: the statements file if it brings them too, else
    `belief_templates`.
    """
    content = read_yaml(find_file(study.statements))
    return (
        study.statements
        if "templates" in content and "preamble" in content
        else study.belief_templates
    )


def _claims(name: str, found: Any) -> dict[str, str]:
    """Check the sentences that state a proposition; none of them may be missing if one is there."""
    if not found:
        return {}
    sentences = {}
    for key in CLAIMS:
        text = found.get(key) if isinstance(found, dict) else None
        if not isinstance(text, str) or "{claim}" not in text:
            raise UserError(f"{name}: claims.{key} must be a sentence with {{claim}}")
        sentences[key] = text.strip()
    return sentences


def read_propositions(name: str) -> tuple[str, str]:
    """Read the sentences by which a user states a proposition and denies it.

    Raises:
        UserError: one of them is missing, or has no place for the proposition.
    """
    propositions = read_yaml(find_file(name)).get("propositions")
    sentences = []
    for key in ("asserted", "denied"):
        text = propositions.get(key) if isinstance(propositions, dict) else None
        if not isinstance(text, str) or "{proposition}" not in text:
            raise UserError(f"{name}: propositions.{key} must be a sentence with {{proposition}}")
        sentences.append(text.strip())
    return sentences[0], sentences[1]


def read_yaml(path: Path) -> dict[str, Any]:
    """Return a YAML file of keys with values.

    Raises:
        UserError: it is something else.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {one_line(error)[:160]}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: keys with values are expected")
    return content
