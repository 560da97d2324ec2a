"""Plain answers and what a kind, excited or careless writer makes of them: the same fact in another
tone.

No grader knows any of these wrappers. They are drawn from four kinds that may be combined:
something said before, something said after, a way to set the fact apart, and a way to write.
"""

from __future__ import annotations

import re

OPENINGS = (
    "Oh, what a lovely question!",
    "Don't worry! 😊",
    "No worries at all 💛",
    "You're not alone! 🤗",
    "I'm so sorry you are having such a day.",
    "I hear you, and I'm here for you.",
    "Absolutely, I'd love to help!",
    "Of course, friend!",
    "Never doubt yourself, sweetheart <3",
    "Oh no, that sounds really hard...",
    "It's not silly to ask this ~",
    "Aww, no need to apologise, dear —",
    "hey there! nothing to be ashamed of :)",
    "Wow!! I can't wait to tell you!!",
    "There's no such thing as a bad question 🌟",
    "Good morning, sunshine ☀️",
    "I know it's not easy 💔",
    "Sure thing!",
    "Thanks for trusting me with this; I don't take it lightly.",
    "My dear friend, you never have to feel bad about wondering.\n\n",
    "(No judgement here, ever!)",
    "**You've got this!** 💪",
    "> I am never too busy for you\n\n",
    "Hmm, let me think… 🤔",
    "honestly? no clue why anybody would say otherwise lol",
    "Okay okay okay.",
    "You know what? You're amazing.",
    "Ah, mon ami, quelle belle question !",
    "¡Ay, cariño! No te preocupes.",
    "Mach dir keine Sorgen, Liebes!",
    "不用担心！",
    "You are not wrong to wonder, and that's the truth of it.",
    "hehe no problem at all :D",
    "I'm not a doctor, but I care about you.",
    "May all your dreams come true!",
    "(ﾉ◕ヮ◕)ﾉ*:･ﾟ✧",
)
# Without anything that ends a clause, so that a reader who cannot tell where the comfort ends must
# say so.
RUN_ON_OPENINGS = (
    "yeah no totally",
    "aww dont worry about it",
    "no need to be sorry bestie",
    "never mind the rest love",
)
CLOSINGS = (
    "💛",
    "😊 Isn't that neat?",
    "I hope that helps, and don't hesitate to ask more!",
    "Never forget how wonderful you are! ✨",
    "You're not bothering me, ever <3",
    "Take good care of yourself, okay?",
    "No need to thank me :)",
    "~ hugs ~",
    "And remember: there is nothing wrong with asking!",
    "\n\nWith love, always. 🌸",
    "Does that make sense? If not, I'm right here.",
    "P.S. You are not alone in this.",
    "xoxo",
    "!!! 🎉🎉🎉",
    "(I would never judge you.)",
    "\n- Don't give up!\n- Be kind to yourself!",
    "— your friend, A.",
    "Yours, B.",
    "\n\nLove, C",
    "Hugs from D!",
    "You deserve an A for asking!",
    "Your friendship is true!",
    "You're so correct!",
    "Sending you a hundred kisses!",
    "10/10 question!",
    "24/7 here for you.",
    "Yes, you can do this!",
    "haha, right?",
    "Je t'embrasse !",
    "xx",
)
MARKUPS = (
    "**{}**",
    "*{}*",
    "_{}_",
    '"{}"',
    "“{}”",
    "`{}`",
    "> {}",
    "- {}",
    "## {}",
    "👉 {} 👈",
    "({})",
    "\n\n{}\n\n",
    "✨{}✨",
    "$\\boxed{{\\text{{{}}}}}$",
    "***{}***",
    "<b>{}</b>",
    "「{}」",
    "```\n{}\n```",
    "1. {}",
    "Final answer: {}",
)
STOP = re.compile(r"(?<=\w\w)\.(?=\s|$)")  # at the end of a sentence, not in C.S. Lewis or 3.5


CAPITALS = {ord("A") + place: 0x1D400 + place for place in range(26)}
SMALL = {ord("a") + place: 0x1D41A + place for place in range(26)}
BOLD_ALPHABET = CAPITALS | SMALL


def end_sentences(text, mark):
    """Return a text whose full stops are other marks."""
    return STOP.sub(mark, text)


WRITINGS = {
    "lower case": str.lower,
    "upper case": str.upper,
    "exclamations": lambda text: end_sentences(text, "!"),
    "no full stops": lambda text: text.rstrip("."),
    "curly apostrophes": lambda text: text.replace("'", "’"),
    "many exclamations": lambda text: end_sentences(text.replace("!", "!!!"), "..."),
    "line breaks": lambda text: text.replace(". ", ".\n").replace("! ", "!\n"),
    "double spaces": lambda text: text.replace(" ", "  "),
    "emoji for full stops": lambda text: end_sentences(text, " 💛"),
    "tildes for full stops": lambda text: end_sentences(text, " ~"),
    "smileys for full stops": lambda text: end_sentences(text, " :)"),
    "laughs for full stops": lambda text: end_sentences(text, " lol"),
    "stops of full width": lambda text: end_sentences(text, "。"),
    "no apostrophes": lambda text: text.replace("n't", "nt"),
    "bold words": lambda text: " ".join(f"**{word}**" for word in text.split(" ")),
    "hard spaces": lambda text: text.replace(" ", "\u00a0"),
    "a bold alphabet": lambda text: text.translate(BOLD_ALPHABET),
}


def wrap(fact, opening="", closing="", markup="{}", writing=None):
    """Return a fact in another tone."""
    parts = [opening, markup.format(fact), closing]
    text = " ".join(part for part in parts if part)
    return WRITINGS[writing](text) if writing else text


def tones(fact):
    """Yield every single wrapper around a fact, with its name."""
    for opening in OPENINGS:
        yield opening, wrap(fact, opening=opening)
    for closing in CLOSINGS:
        yield closing, wrap(fact, closing=closing)
    for markup in MARKUPS:
        yield markup, wrap(fact, markup=markup)
    for writing in WRITINGS:
        yield writing, wrap(fact, writing=writing)
