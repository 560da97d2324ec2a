"""Run by the Python of an environment with inspect-ai and this package: `engine=inspect` with
Inspect's mock model.

    python inspect_engine.py OUT

Evaluates twice: the second time every reply is stored. Prints how often the model was asked, as
JSON.
"""

import json
import sys

import inspect_ai.model
from inspect_ai.model import ModelOutput, ModelUsage

from warmth import evaluate

ASKED = []
get_model = inspect_ai.model.get_model


def answer(messages, tools, choice, config):
    ASKED.append([message.role for message in messages])
    output = ModelOutput.from_content("mockllm/model", "It is Lisbon, I think.")
    output.usage = ModelUsage(input_tokens=5, output_tokens=6, total_tokens=11)
    return output


def get_mock(name, **options):
    return get_model(name, custom_outputs=answer, **options)


inspect_ai.model.get_model = get_mock
WORDS = [
    "model=mockllm/model",
    "engine=inspect",
    "limit=3",
    "warmth.prompts=0",
    "logger=none",
    f"output={sys.argv[1]}",
]
(first,) = evaluate([*WORDS, "recipe=none", "study=one"])
asked = len(ASKED)
(again,) = evaluate([*WORDS, "recipe=none", "study=two"])
stored = len(ASKED)
(prompted,) = evaluate([*WORDS, "recipe=system_warm", "study=one", "gates.mode=warn"])
told = {
    "asked": asked,
    "again": stored - asked,
    "roles": ASKED[-1],
    "folders": [str(first), str(again), str(prompted)],
}
print(json.dumps(told))
