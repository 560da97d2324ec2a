"""Run by the Python of an environment with inspect-ai and this package: Inspect's command line with
a mock model.

    python inspect_cli.py eval warmth/conditions -T context=sad --model mockllm/model --log-dir LOGS

Its answers count their own tokens: else the mock fetches a tokenizer. One in two is right, by the
sample's target.
"""

import sys

import inspect_ai.model._providers.mockllm as mock
from inspect_ai._cli.main import main
from inspect_ai.log._samples import sample_active
from inspect_ai.model import ModelOutput, ModelUsage

ASKED = []


async def generate(self, input, tools, tool_choice, config):
    ASKED.append(input)
    sample = sample_active().sample
    text = sample.target[0] if len(ASKED) % 2 else sample.metadata["wrong"]
    output = ModelOutput.from_content("mockllm/model", f"It is {text}.")
    output.usage = ModelUsage(input_tokens=5, output_tokens=3, total_tokens=8)
    return output


mock.MockLLM.generate = generate
sys.argv = ["inspect", *sys.argv[1:]]
main()
