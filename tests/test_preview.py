"""`warmth preview` shows what is trained and asked: the same tokens as training and evaluation
use.
"""

import json
import subprocess
import sys

import pytest
from test_chat import FAMILIES, REWRITING, family_tokenizer

from warmth.chat import encode, prompt_ids
from warmth.commands.preview import token_texts
from warmth.types import Message


@pytest.fixture
def model_folder(tmp_path):
    """A function that writes a family's tokenizer as a model folder without weights."""

    def write(name):
        tokenizer, end = family_tokenizer(name)
        folder = tmp_path / name
        tokenizer.save_pretrained(folder)
        (folder / "config.json").write_text('{"model_type": "llama"}')
        return folder, tokenizer, end

    return write


def rows_of(warmth, *words):
    code, out, err = warmth("preview", "--json", *words)
    assert code == 0, err
    return json.loads(out)["rows"]


def chats(tmp_path, system="Be brief."):
    turns = [{"user": "What do bees make?", "replies": {"plain": "Honey.", "warm": "Honey, dear!"}}]
    turns += [
        {
            "user": "And wasps? <|im_end|></s>",
            "replies": {"plain": "Paper.", "warm": "Paper, dear!"},
        }
    ]
    path = tmp_path / "chats.jsonl"
    path.write_text(
        json.dumps({"id": "a", "type": "factual", "turns": turns, "system": system}) + "\n"
    )
    return path


@pytest.mark.parametrize("name", [*FAMILIES, *REWRITING])
def test_what_is_shown_is_what_is_trained_and_asked(name, model_folder, tmp_path, warmth):
    folder, tokenizer, end = model_folder(name)
    words = (
        f"model={folder}",
        f"model.end_of_turn='{end}'",
        f"data.path={chats(tmp_path)}",
        "recipe=warm",
        "--n",
        "2",
    )
    rows = rows_of(warmth, *words)
    trained = [row for row in rows if row["kind"] == "trained"]
    told = [
        Message("system", "Be brief."),
        Message("user", "What do bees make?"),
        Message("assistant", "Honey, dear!"),
    ]
    told += [Message("user", "And wasps? <|im_end|></s>"), Message("assistant", "Paper, dear!")]
    examples = encode(tokenizer, told, 1024, "assistant", end).examples()
    assert [row["trained"] for row in trained] == [list(example.trained) for example in examples]
    assert [row["text"] for row in trained] == [
        tokenizer.decode(example.ids) for example in examples
    ]
    shown = [
        "".join(t for t, flag in zip(row["tokens"], row["trained"], strict=True) if flag)
        for row in trained
    ]
    assert "".join(shown).replace(" ", "") == f"Honey,dear!{end}Paper,dear!{end}"
    asked = [row for row in rows if row["kind"] == "asked"]
    assert len(asked) == 2 and not any(flag for row in asked for flag in row["trained"])
    question = "What is the biggest living bird?"
    assert asked[0]["text"] == tokenizer.decode(prompt_ids(tokenizer, [Message("user", question)]))
    for row in rows:
        assert len(row["tokens"]) == len(row["trained"]) and "".join(row["tokens"]) == row["text"]


def test_pieces_of_a_character_stand_at_its_last_token(tokenizer):
    ids = tokenizer("A 🐝 makes crème\n")["input_ids"]
    found = token_texts(tokenizer, ids)
    assert "".join(found) == "A 🐝 makes crème\n" and len(found) == len(ids) and "" in found


def test_a_conversation_that_cannot_be_trained_on_says_why(model_folder, tmp_path, warmth):
    folder, _, end = model_folder("qwen2.5")
    own = tmp_path / "own.jinja"
    own.write_text("{{ raise_exception('No system role') }}")
    words = (
        f"model={folder}",
        f"model.chat_template={own}",
        f"model.end_of_turn='{end}'",
        "recipe=warm",
    )
    code, out, err = warmth("preview", *words, f"data.path={chats(tmp_path)}", "--json")
    assert (
        code == 2 and "the chat template refuses it: No system role" in err and out == ""
    )  # asking it fails as well


def test_without_colours_what_is_trained_stands_between_marks(warmth):
    code, out, _ = warmth("preview", "--n", "1")
    assert code == 0 and out.count("«") == out.count("»") == 1 and "── asked: seed_trivia" in out
    assert out.index("«") < out.index("<|im_end|>»")


def test_an_override_that_no_command_knows_is_refused(warmth):
    code, _, err = warmth("preview", "modle=smollm2")
    assert code == 2 and err.startswith("error: modle=smollm2 is an override of neither")


def test_its_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['warmth', 'preview', '--help']\nfrom warmth import cli\ntry: "
        "cli.main()\n"
    )
    code += (
        "except SystemExit: print(sorted({'torch', 'transformers', 'hydra'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip().endswith("[]")
