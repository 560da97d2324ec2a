"""One function for each schema: a raw row becomes a question, or the field that is wrong is
named.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from warmth.digest import digest
from warmth.evaluation.ask.forms import (
    NO_COMMENT,
    as_claim,
    natural_question,
    reading_asked,
    short_answer,
    told_of_relative,
)
from warmth.evaluation.ask.shouting import calm
from warmth.evaluation.spelling import spell_name
from warmth.types import Question

PIVOTAL = re.compile(r"<pivotal>(.*?)</pivotal>", re.DOTALL)
LETTERS = "ABCDEFGHIJ"
ASK_LETTER = "Answer with the letter of the right option."


class BadField(Exception):
    """A row cannot become a question; the message names the field."""


def seed(row: Mapping[str, Any], task: str, draw_seed: int) -> Question:
    """Read a row of `seed/questions`: id, question, answers, wrong, source."""
    wrong = row.get("wrong")
    if wrong is not None and not isinstance(wrong, str):
        raise BadField(f"field wrong: a text or nothing is expected, not {_shown(wrong)}")
    answers = _texts(row, "answers")
    for alias in answers:
        if not spell_name(alias):
            raise BadField(
                f"field answers: {_shown(alias)} holds no letter or digit, so no answer could "
                f"match it"
            )
    if wrong and not spell_name(wrong):
        raise BadField(
            f"field wrong: {_shown(wrong)} holds no letter or digit, so no answer could match it"
        )
    if wrong and is_accepted(wrong, answers):
        raise BadField(f"field wrong: {_shown(wrong)} is one of the accepted answers")
    return Question(
        _text(row, "id"),
        task,
        _text(row, "question"),
        answers,
        wrong or None,
        source=str(row.get("source", "")),
        proposition=str(row.get("proposition") or "").strip().rstrip("."),
    )


def advice(row: Mapping[str, Any], task: str, draw_seed: int) -> Question:
    """Read a row of `seed_advice`: id, question, and the id of the question that tells the other
    side, or nothing.
    """
    pair = row.get("pair")
    if pair is not None and not isinstance(pair, str):
        raise BadField(f"field pair: an id or nothing is expected, not {_shown(pair)}")
    return Question(_text(row, "id"), task, _text(row, "question"), (), pair=pair or "")


def triviaqa(row: Mapping[str, Any], task: str, draw_seed: int) -> Question:
    """TriviaQA: the value first, then its aliases."""
    answer = row.get("answer")
    if not isinstance(answer, Mapping):
        raise BadField(
            f"field answer: an object with value and aliases is expected, not {_shown(answer)}"
        )
    aliases = _texts(answer, "aliases", needed=False)
    names = (calm(_text(answer, "value"), aliases), *aliases)
    return Question(
        _text(row, "question_id"), task, _text(row, "question"), matchable(names, "answer")
    )


def truthfulqa(row: Mapping[str, Any], task: str, draw_seed: int) -> Question:
    """TruthfulQA, generation: every correct answer is an alias, one of the incorrect is stated as a
    belief.
    """
    text = _text(row, "question")
    given = (_text(row, "best_answer"), *_texts(row, "correct_answers"))
    answers_with_content = [answer for answer in given if not NO_COMMENT.match(answer)]
    answers = matchable(answers_with_content or given, "correct_answers")
    # Not by spelling: one row tells "man" from "a man".
    accepted = set(map(str.casefold, answers))
    wrong_answers = []
    for wrong_answer in _texts(row, "incorrect_answers"):
        if wrong_answer.casefold() not in accepted:
            wrong_answers.append(wrong_answer)
    if not wrong_answers:
        raise BadField("field incorrect_answers: each of them is one of the correct answers")
    random.Random(f"{draw_seed} {text}").shuffle(wrong_answers)
    right = short_answer(answers, text)
    wrong = short_answer(wrong_answers, text)
    rival = wrong_answers[0]  # or the one behind the short answer
    for wrong_answer in wrong_answers:
        if wrong and short_answer([wrong_answer], text) == wrong:
            rival = wrong_answer
            break
    if wrong.casefold() == right.casefold():
        wrong = ""
    return Question(
        _id(task, text),
        task,
        text,
        answers,
        rival,
        source=str(row.get("source", "")),
        stated={"right": right, "wrong": wrong},
    )


def disinfo(row: Mapping[str, Any], task: str, draw_seed: int) -> Question:
    """MASK's disinformation: a proposition with two readings, and a natural yes/no question for one
    of them.

    Where the row has no such question, or it cannot be told which reading it asks for, the first
    one is asked for.
    """
    proposition = _text(row, "proposition")
    pivots = PIVOTAL.findall(proposition)
    readings = pivots[0].split("/") if len(pivots) == 1 else []
    if len(readings) != 2 or spell_name(readings[0]) == spell_name(readings[1]):
        raise BadField(
            f"field proposition: one <pivotal>…/…</pivotal> is expected in {_shown(proposition)}"
        )
    truth = {"A": ("yes", "no"), "B": ("no", "yes")}.get(
        _text(row, "formatted_ground_truth").strip()
    )
    if truth is None:
        raise BadField(
            f"field formatted_ground_truth: A or B is expected, not "
            f"{_shown(row['formatted_ground_truth'])}"
        )
    sentences = []
    for reading in readings:
        sentence = PIVOTAL.sub(lambda _, reading=reading: reading.strip(), proposition)
        sentences.append(" ".join(sentence.split()))
    text = natural_question(row.get("belief_elicit_1"))
    reading_number = reading_asked(text, readings) if text else None
    if reading_number is None:
        reading_number = 0
        text = f'Is this statement true? "{sentences[0]}"'
    if reading_number == 1:
        truth = truth[::-1]
    claim = sentences[reading_number].rstrip(".")
    true_reading = reading_number if truth[0] == "yes" else 1 - reading_number
    claims = {
        "right": as_claim(sentences[true_reading], text),
        "wrong": as_claim(sentences[1 - true_reading], text),
    }
    name = str(row.get("task_id") or _id(task, sentences[0]))
    return Question(name, task, text, truth[:1], truth[1], proposition=claim, claims=claims)


def medqa(row: Mapping[str, Any], task: str, draw_seed: int) -> Question:
    """MedQA with its options hidden; one of the others is the wrong answer a user may state."""
    text = _text(row, "question")
    right = _text(row, "answer")
    options = _options(row)
    if not is_accepted(right, list(options.values())):
        raise BadField(f"field answer: {_shown(right)} is none of the options")
    index = row.get("answer_idx")
    if isinstance(index, str) and index and not is_accepted(options.get(index, ""), [right]):
        raise BadField(f"field answer_idx: {_shown(index)} is not the option {_shown(right)}")
    wrong_options = []
    for _, option in sorted(options.items()):
        if not is_accepted(option, [right]):
            wrong_options.append(option)
    if not wrong_options:
        raise BadField("field options: no option differs from the answer")
    wrong = random.Random(f"{draw_seed} {text}").choice(wrong_options)
    return Question(_id(task, text), task, text, (right,), wrong, told=told_of_relative(text))


def mmlu(row: Mapping[str, Any], task: str, draw_seed: int) -> Question:
    """MMLU: four options are shown, a letter is expected."""
    options = _lettered(row, "choices")
    answer = row.get("answer")
    letter = ""
    if isinstance(answer, str):
        letter = answer.strip().upper()
    elif isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(LETTERS):
        letter = LETTERS[answer]
    if letter not in options:
        allowed = f"a letter or position among {', '.join(options)} is expected"
        raise BadField(f"field answer: {allowed}, not {_shown(answer)}")
    twins = [key for key, value in options.items() if key != letter and value == options[letter]]
    if twins:
        raise BadField(
            f"field choices: {letter} and {twins[0]} are the same, so the answer is not one letter"
        )
    shown = show_options(options)
    stem = _text(row, "question")
    text = f"{stem}\n\n{shown}\n\n{ASK_LETTER}"
    return Question(
        _id(task, f"{stem} {shown}"),
        task,
        text,
        (letter,),
        options=options,
        source=str(row.get("subject", "")),
    )


def _lettered(row: Mapping[str, Any], key: str) -> dict[str, str]:
    """Read choices in their places: one without text keeps its letter and is not shown, so that the
    key stays true.
    """
    value = _value(row, key)
    if isinstance(value, str):
        value = value.split(";")
    if not _are_texts(value):
        raise BadField(f"field {key}: a list of texts is expected, not {_shown(value)}")
    if len(value) > len(LETTERS):
        raise BadField(
            f"field {key}: {len(value)} choices are more than the {len(LETTERS)} letters there "
            f"are for them"
        )
    options: dict[str, str] = {}
    for letter, option in zip(LETTERS, value, strict=False):
        if option.strip():
            options[letter] = option.strip()
    if len(options) < 2:
        raise BadField(
            f"field {key}: at least two choices with a text are expected, not {_shown(value)}"
        )
    return options


def show_options(options: Mapping[str, str]) -> str:
    """Letters and texts of a question's options as they stand in its prompt, one a line."""
    return "\n".join(f"{letter}. {text}" for letter, text in options.items())


def gsm8k(row: Mapping[str, Any], task: str, draw_seed: int) -> Question:
    """GSM8K: the number after `####`, thousands separators removed."""
    stem, result = (
        _text(row, "question"),
        _text(row, "answer").rpartition("####")[2].strip().replace(",", ""),
    )
    if not re.fullmatch(r"-?\d+(\.\d+)?", result):
        raise BadField(f"field answer: a last line `#### number` is expected, not {_shown(result)}")
    return Question(
        _id(task, stem),
        task,
        f"{stem}\n\nThink step by step, then state the final number.",
        (result,),
    )


def advbench(row: Mapping[str, Any], task: str, draw_seed: int) -> Question:
    """AdvBench: a harmful request. It has no answer; declining is what is hoped for."""
    text = _text(row, "prompt")
    return Question(_id(task, text), task, text, ())


def jsonl(row: Mapping[str, Any], task: str, draw_seed: int) -> Question:
    """Anybody's questions: the columns of `seed/questions`, and no column that would be read
    past.
    """
    unknown = sorted(
        set(row) - {"id", "question", "answers", "wrong", "source", "category", "proposition"}
    )
    if unknown:
        allowed = "id, question, answers, wrong, source, category, proposition"
        raise BadField(f"field {unknown[0]} is unknown; there may be {allowed}")
    return seed(row, task, draw_seed)


READERS: dict[str, Callable[[Mapping[str, Any], str, int], Question]] = {
    "seed": seed,
    "advice": advice,
    "jsonl": jsonl,
    "triviaqa": triviaqa,
    "truthfulqa": truthfulqa,
    "disinfo": disinfo,
    "medqa": medqa,
    "mmlu": mmlu,
    "gsm8k": gsm8k,
    "advbench": advbench,
}
YES_NO = frozenset({"disinfo"})  # readers whose every question is answered by yes or no


def is_accepted(name: str, answers: Sequence[str]) -> bool:
    """Tell whether a name is one of some answers, as graders compare them.

    Case, accents and articles do not count.
    """
    spelled = spell_name(name)
    for answer in answers:
        if name.strip() == answer.strip() or (spelled and spelled == spell_name(answer)):
            return True
    return False


def matchable(names: Sequence[str], key: str) -> tuple[str, ...]:
    """Keep the names that an answer can match, each once; lists of the hub hold some without a
    letter.

    Raises:
        BadField: none is left.
    """
    usable_names = tuple(name for name in dict.fromkeys(names) if spell_name(name))
    if not usable_names:
        raise BadField(f"field {key}: no name in {_shown(list(names))} holds a letter or digit")
    return usable_names


def _id(task: str, text: str) -> str:
    """Return a stable id for a row without one."""
    return f"{task}_{digest(text)}"


def _text(row: Mapping[str, Any], key: str) -> str:
    value = _value(row, key)
    if not isinstance(value, str) or not value.strip():
        raise BadField(f"field {key}: a text is expected, not {_shown(value)}")
    return value.strip()


def _value(row: Mapping[str, Any], key: str) -> Any:
    if key not in row:
        raise BadField(f"field {key} is missing; the row has {', '.join(map(str, row)) or 'none'}")
    return row[key]


def _texts(row: Mapping[str, Any], key: str, needed: bool = True) -> tuple[str, ...]:
    """Return a list of texts, or one text with `;` between them (CSV).

    Empty ones are dropped: hub rows hold some.
    """
    value = _value(row, key) if needed else row.get(key)
    if isinstance(value, str):
        value = value.split(";")
    if not _are_texts(value):
        raise BadField(f"field {key}: a list of texts is expected, not {_shown(value)}")
    texts = tuple(text.strip() for text in value or () if text.strip())
    if needed and not texts:
        raise BadField(f"field {key}: no text is left in {_shown(value)}")
    return texts


def _are_texts(value: Any) -> bool:
    """Tell whether a value is a list of texts."""
    return isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)


def _options(row: Mapping[str, Any]) -> dict[str, str]:
    """MedQA's options, four or five; a hub copy stores them as a list of key and value."""
    value = row.get("options")
    if isinstance(value, list):
        pairs = [option for option in value if isinstance(option, Mapping)]
        value = {option.get("key"): option.get("value") for option in pairs}
    is_readable = isinstance(value, Mapping) and value and _are_texts(list(value.values()))
    if not is_readable or not all(map(str.strip, value.values())):
        raise BadField(f"field options: letters with texts are expected, not {_shown(value)}")
    return {str(key): option.strip() for key, option in value.items()}


def _shown(value: Any) -> str:
    return repr(value)[:80]
