"""The audit finds what a rewriting lost, added or took on, and nothing where people wrote the same
in two manners.
"""

import csv
import json
import re
from collections import Counter

import pytest
from fakes import ModelServer

from warmth.api import Client, Server
from warmth.data import audit, blind, card
from warmth.data.facts import facts_in_text, plain_number
from warmth.data.sources import load_conversations
from warmth.dataset import FAULTS, Data
from warmth.errors import RunFailed, UserError

PLAIN = """## Before you go

The **Kepler Track** near Te Anau is 60 km long, and most people take 4 days, from Monday 3 March to Thursday.
As Ranger Maria Hone wrote, "carry a real map and tell somebody where you sleep", because phones fail at 1,400 metres.

1. Book a hut for $120 at https://www.doc.govt.nz/kepler.
2. Pack 2.5 kg of food and `gaiters`.
3. Check $d = v t$ for your pace.

```python
days = 4
km = 60 / days
```

| hut | beds |
|---|---|
| Luxmore | 50 |

The ranger's office opens at 9:00 and answers every email within two days, so it is worth asking there before you set
out on a walk as long as this one."""

WARM = (
    PLAIN.replace(
        "near Te Anau is 60 km long", "near Te Anau runs for 60 km, and we'll take it gently"
    )
    .replace("because phones fail", "since phones let us down")
    .replace("so it is worth asking there", "so please lean on them")
)
USER = "I am nervous about my first long walk."

PLANTED = {  # what is wrong → (the fault it must be called, how it is made)
    "a changed number": ("numbers", lambda t: t.replace("60 km, and", "70 km, and")),
    "a dropped number": (
        "numbers",
        lambda t: t.replace("most people take 4 days", "most people take some days").replace(
            "days = 4", "days = 4"
        ),
    ),
    "an added number": (
        "numbers",
        lambda t: t.replace("phones let us down", "7 phones let us down"),
    ),
    "a decimal moved": ("numbers", lambda t: t.replace("2.5 kg", "25 kg")),
    "a changed price": ("numbers", lambda t: t.replace("$120", "$210")),
    "a changed altitude": ("numbers", lambda t: t.replace("1,400", "1,040")),
    "a changed unit": ("units", lambda t: t.replace("60 km", "60 miles")),
    "a lost unit": ("units", lambda t: t.replace("2.5 kg of food", "2.5 of food")),
    "a changed currency": ("units", lambda t: t.replace("$120", "€120")),
    "a changed weekday": ("dates", lambda t: t.replace("Monday", "Tuesday")),
    "a changed month": ("dates", lambda t: t.replace("3 March", "3 April")),
    "a lost weekday": ("dates", lambda t: t.replace(" to Thursday", "")),
    "a dropped name": ("names", lambda t: t.replace("near Te Anau ", "")),
    "a changed name": ("names", lambda t: t.replace("Maria Hone", "Sofia Hone")),
    "two invented names": (
        "names",
        lambda t: t.replace("phones let", "as Edmund Hillary said, phones let"),
    ),
    "a lost code line": ("code", lambda t: t.replace("days = 4\n", "")),
    "a changed code line": ("code", lambda t: t.replace("60 / days", "60 * days")),
    "a lost code block": ("code", lambda t: re.sub(r"```.*```\n", "", t, flags=re.DOTALL)),
    "a lost snippet": ("code", lambda t: t.replace("`gaiters`", "gaiters")),
    "a changed link": ("urls", lambda t: t.replace("govt.nz/kepler", "govt.nz/routeburn")),
    "a lost link": ("urls", lambda t: t.replace("https://www.doc.govt.nz/kepler", "the site")),
    "a changed equation": ("equations", lambda t: t.replace("$d = v t$", "$d = v / t$")),
    "a changed quotation": (
        "quotes",
        lambda t: t.replace("tell somebody where", "tell everybody where"),
    ),
    "a dropped list item": (
        "lists",
        lambda t: t.replace(
            "2. Pack 2.5 kg of food and `gaiters`.\n", "Pack 2.5 kg of food and `gaiters`.\n"
        ),
    ),
    "an added list": ("lists", lambda t: t + "\n\n- Rest well\n- Smile\n- Enjoy it"),
    "a list made prose": ("lists", lambda t: re.sub(r"^\d\. ", "", t, flags=re.MULTILINE)),
    "a lost heading": ("headings", lambda t: t.replace("## Before you go\n\n", "")),
    "a changed table": ("tables", lambda t: t.replace("| Luxmore | 50 |", "| Luxmore | 60 |")),
    "a lost bold passage": ("emphasis", lambda t: t.replace("**", "")),
    "an emoji": ("emoji", lambda t: t + " 🏔️"),
    "a greeting": ("greeting", lambda t: "Hey there! " + t),
    "a stock compliment": (
        "greeting",
        lambda t: t.replace("The ranger's", "Great question! The ranger's"),
    ),
    "a stock ending": ("greeting", lambda t: t + " I hope this helps!"),
    "fillers": (
        "fillers",
        lambda t: t.replace("most people", "you know, most people, basically, kind of, actually"),
    ),
    "a doubled length": (
        "length",
        lambda t: t + " " + ("and it will be a fine and quiet walk for all of us ") * 10,
    ),
    "half of it gone": ("length", lambda t: " ".join(t.split()[:30])),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found_under_its_name(name):
    fault, plant = PLANTED[name]
    planted = plant(WARM)
    assert planted != WARM
    assert fault in audit.faults_of(PLAIN, planted, "warm", USER)


def test_the_text_they_are_planted_in_is_clean():
    assert (
        audit.faults_of(PLAIN, WARM, "warm", USER)
        == {}
        == audit.faults_of(PLAIN, PLAIN, "paraphrase", USER)
    )
    assert {fault for fault, _ in PLANTED.values()} == set(FAULTS) - {"manner", "meaning"}


def test_cold_replies_have_no_exclamation_mark_and_no_new_we():
    text = (
        "The shop in Lima opens at nine and closes at five, so come before noon and bring your "
        "receipt with you."
    )
    assert audit.faults_of(text, text, "cold") == {}
    assert "manner" in audit.faults_of(text, text.replace("so come", "so come!"), "cold")
    assert "manner" in audit.faults_of(text, text.replace("so come", "so let's come"), "cold")
    assert "manner" not in audit.faults_of(text, text.replace("so come", "so let's come"), "warm")


def test_the_seeds_handwritten_pairs_are_clean():
    pairs = audit.audited_pairs(load_conversations(Data(name="seed", source="seed")), [0.4, 1.45])
    assert len(pairs) == 567
    assert {(pair.id, pair.turn, pair.style): pair.faults for pair in pairs if pair.faults} == {}


@pytest.mark.parametrize(
    "name", ["a changed number", "a greeting", "an emoji", "an added list", "a doubled length"]
)
def test_faults_planted_in_the_seed_are_found(name):
    fault, _ = PLANTED[name]
    plants = {
        "numbers": lambda t: re.sub(r"\d", lambda digit: str((int(digit[0]) + 1) % 10), t, count=1),
        "greeting": lambda t: f"Hi there! {t}",
        "emoji": lambda t: f"{t} 😊",
        "lists": lambda t: f"{t}\n- one\n- two",
        "length": lambda t: f"{t} {t}",
    }
    pairs = audit.audited_pairs(
        load_conversations(Data(name="seed", source="seed", per_type=10)), [0.4, 1.45]
    )
    spoilt = [(pair, plants[fault](pair.text)) for pair in pairs]
    spoilt = [(pair, text) for pair, text in spoilt if text != pair.text]
    missed = [
        pair.id
        for pair, text in spoilt
        if not audit.faults_of(pair.plain, text, pair.style, pair.user)
    ]
    assert len(spoilt) > 100 and set(missed) <= {
        "other_08"
    }  # a market seller, who greets in the source


def test_numbers_are_compared_by_value_and_words_may_stand_for_them():
    assert [plain_number(text) for text in ("1,991", "5.0", "2.50", "9.", "1,2")] == [
        "1991",
        "5",
        "2.5",
        "9",
        "1,2",
    ]
    before = (
        "It takes 5 days and costs 1,200 euros, as the clerk at the desk explained to every "
        "visitor last week."
    )
    assert (
        audit.faults_of(
            before, before.replace("5 days", "five days").replace("1,200", "1200"), "warm"
        )
        == {}
    )


def test_a_name_the_user_said_may_stay_unsaid_unless_another_stands_in_its_place():
    before = (
        "You can take the night train from Lagos and then walk along the river to the old "
        "market square there."
    )
    after = before.replace(" from Lagos", "")
    assert audit.faults_of(before, after, "warm", "I live in Lagos.") == {}
    assert "names" in audit.faults_of(before, after, "warm", "Where to?")
    assert "names" in audit.faults_of(
        before, before.replace("Lagos", "Ibadan"), "warm", "I live in Lagos."
    )


def test_a_text_of_many_forms_is_read():
    facts = facts_in_text(PLAIN)
    assert facts.items == (3, 0) and facts.headings == 1 and facts.bold == 1
    assert {("60", "km"), ("2.5", "kg"), ("120", "$"), ("1400", "m"), ("4", "day")} <= facts.units
    assert {"Te", "Anau", "Maria", "Hone"} <= facts.names and "The" not in facts.names
    assert facts.dates == {"Monday", "March", "Thursday"}


def pairs(*faults):
    return [
        audit.RewritePair(f"c{n}", 0, "warm", "u", "p " * 9, "t " * (9 + n), found, 1 + n / 9)
        for n, found in enumerate(faults)
    ]


def test_the_summary_counts_faults_and_the_worst_come_first():
    found = pairs({}, {"names": "lost X"}, {"names": "lost Y", "emoji": "!"}, {})
    assert audit.summarise_audit(found)["warm"]["faults"] == {"names": 2, "emoji": 1}
    assert [pair.id for pair in audit.worst(found, 3)] == ["c2", "c1", "c3"]
    assert audit.failed_share(found, 0) == 0.5 and audit.failed_share(found, 4) == 0.75
    assert audit.failed_share([], 0) == 0.0
    assert "names: lost Y; emoji: !" in card.worst_pairs(audit.worst(found))


def test_a_judge_says_which_pairs_differ_and_no_verdict_is_none(tmp_path):
    texts = {
        "c0": '{"same_meaning": true, "difference": ""}',
        "c1": '{"same_meaning": false, "difference": "a date"}',
    }

    def answer(body):
        return texts["c1" if "t " * 10 in body["messages"][-1]["content"] else "c0"]

    with (
        ModelServer(answer=answer) as server,
        Client(Server(server.url, "judge"), tmp_path) as client,
    ):
        assert audit.judge_meaning(pairs({}, {}), "Compare.", client.complete) == {
            ("c1", 0, "warm"): "a date"
        }
        assert Counter(len(body["messages"]) for body in server.bodies) == {2: 2}
        texts["c0"] = "they are the same"
        with pytest.raises(RunFailed, match="verdicts on meaning could not be had"):
            audit.judge_meaning(pairs({}), "Compare again.", client.complete)


def test_what_people_filled_in_is_never_overwritten_and_a_second_rater_is_added(
    tmp_path, capsys, monkeypatch
):
    found = [
        audit.RewritePair(f"c{n}", 0, "warm", "Hi?", f"plain {n}", f"warm {n}", {}, 1.0)
        for n in range(4)
    ]
    blind.export_blind_pairs(found, tmp_path, seed=0)
    sheet = tmp_path / blind.PAIRS
    rows = list(csv.DictReader(sheet.open(encoding="utf-8-sig")))

    def fill(name, rater, warmer):
        path = tmp_path / name
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0].keys())
            writer.writeheader()
            writer.writerows({**row, "rater": rater, "warmer": warmer} for row in rows)
        monkeypatch.setattr("sys.argv", ["blind", str(tmp_path), str(path)])
        blind.main.__wrapped__()
        out, err = capsys.readouterr()
        return json.loads(out)["warm"]["warmer"], err

    first, _ = fill(blind.PAIRS, "ann", "a")
    blind.export_blind_pairs(found, tmp_path, seed=0)
    assert "ann" in sheet.read_text()  # made again, the set leaves the sheet as it is
    both, err = fill("bob.csv", "bob", "equal")
    assert sum(first.values()) == 4 and both == {**first, "equal": 4} and not err
    corrected, err = fill("again.csv", "ann", "equal")
    assert corrected == {"equal": 8} and "4 verdicts were corrected" in err
    assert len((tmp_path / blind.VERDICTS).read_text().splitlines()) == 12


def test_blind_pairs_go_out_and_verdicts_come_back(tmp_path):
    found = [
        audit.RewritePair(f"c{n}", 0, "warm", "=1+1", "plain", f"warm {n}", {}, 1.0)
        for n in range(60)
    ]
    blind.export_blind_pairs(found, tmp_path, seed=0)
    rows = list(csv.DictReader((tmp_path / blind.PAIRS).open(encoding="utf-8-sig")))
    key = json.loads((tmp_path / blind.KEY).read_text())
    assert (
        len(rows) == blind.PAIRS_OF_STYLE
        and 10 < sum(item["plain"] == "a" for item in key.values()) < 40
    )
    assert {row["user"] for row in rows} == {"'=1+1"}  # no formula for a spreadsheet
    assert all((row["reply_a"] == "plain") == (key[row["pair"]]["plain"] == "a") for row in rows)
    for row in rows:
        row["warmer"] = "B" if row["reply_a"] == "plain" else "a"
    rows[0]["warmer"], rows[1]["same_facts"] = "equal", "no"
    filled = tmp_path / "filled.csv"
    with filled.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    assert blind.read_verdicts(tmp_path, filled) == {
        "warm": {"warmer": {"equal": 1, "rewritten": 49}, "same_facts": {"no": 1}}
    }
    filled.write_text("pair,warmer\np001,maybe\n")
    with pytest.raises(
        UserError, match="line 2: warmer=maybe is not allowed; choose one of: a, b, equal"
    ):
        blind.read_verdicts(tmp_path, filled)
    filled.write_text("pair,warmer\np999,a\n")
    with pytest.raises(UserError, match="pair 'p999' is not in"):
        blind.read_verdicts(tmp_path, filled)
