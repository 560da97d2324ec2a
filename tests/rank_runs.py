"""Several trainings one after another on the same ranks: `python -m torch.distributed.run ...
tests/rank_runs.py PLAN`.

Starting Python and its libraries costs more than training a tiny model, so tests hand over a list
of run folders, and each rank forks a process for each of them. `stop_at` tells the ranks to end
after a step, as SIGTERM does; `kill_at` kills rank 0 with SIGKILL as a step begins, and its partner
loses it; the next entry of the same folder then continues. What a run keeps is compared with the
parts of the float32 values that each rank's optimiser holds, read without the functions under test.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path

import deepspeed  # noqa: F401  # before the forks, so that it is read once
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from warmth.training import checkpoints, fit

STATE = {"entry": {}, "trainer": None, "begun_at": None, "exact": []}


class Stop(TrainerCallback):
    """Ends this rank as a step begins: politely, or at once."""

    def on_train_begin(self, args, state, control, **_):
        STATE["begun_at"] = state.global_step

    def on_step_begin(self, args, state, control, **_):
        if STATE["entry"].get("stop_at") == state.global_step:
            os.kill(os.getpid(), signal.SIGTERM)
        if STATE["entry"].get("kill_at") == state.global_step and args.process_index == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def held_parts(weight):
    """Return (start, values) of what this rank's optimiser holds of a weight in float32."""
    if hasattr(weight, "ds_id"):
        zero = STATE["trainer"].model_wrapped.optimizer
        part, _ = zero._get_fp32_opt_state_partition(weight, release_swap_buffers=False)
        start = part.numel() * torch.distributed.get_rank()
        return start, part.detach().cpu()[: max(0, weight.ds_numel - start)]
    if hasattr(weight, "_hp_mapping"):
        mapping = weight._hp_mapping
        if mapping is None:
            return 0, torch.empty(0)
        return mapping.lp_fragment_address.start, mapping.hp_fragment.detach().cpu()
    return 0, weight.detach().cpu().flatten()


def whole(weight):
    """Put the parts of all ranks together."""
    parts = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, held_parts(weight))
    size = getattr(weight, "ds_numel", None) or weight.numel()
    values = torch.full((size,), float("nan"))
    for start, part in parts:
        values[start : start + part.numel()] = part.flatten()
    return values


def save_and_compare(model, target, facts, writes):
    """Save, then note whether every saved number is the float32 value that the optimiser holds."""
    REAL(model, target, facts, writes)
    values = {name: whole(weight) for name, weight in checkpoints.learnt(model)}
    if not writes or not (target / "adapter_model.safetensors").exists():
        return
    saved = load_file(target / "adapter_model.safetensors")
    same, narrow = [], []
    for name, value in values.items():
        kept = saved[name.replace(".default", "")].flatten()
        same.append(torch.equal(kept, value))
        narrow.append(torch.equal(kept, kept.bfloat16().float()))
    STATE["exact"].append({"same": all(same), "rounded": all(narrow), "weights": len(same)})


REAL = checkpoints.save_checkpoint
checkpoints.save_checkpoint = save_and_compare
make = fit.make_trainer


def make_trainer(plan, callbacks):
    STATE["trainer"] = make(plan, [*callbacks, Stop()])
    return STATE["trainer"]


fit.make_trainer = make_trainer


def run(entry, outcome_path):
    """Train one run as this rank, and note how it went; the first rank writes."""
    STATE.update(entry=entry, exact=[])
    stopped = fit.train_rank(Path(entry["folder"]), None)
    trainer = STATE["trainer"]
    outcome = {
        "begun_at": STATE["begun_at"],
        "stopped": stopped,
        "exact": STATE["exact"],
        "divided_at_loading": bool(
            getattr(trainer.args.hf_deepspeed_config, "is_zero3", lambda: 0)()
        ),
    }
    if torch.distributed.get_rank() == 0:
        outcome_path.write_text(json.dumps(outcome))
    torch.distributed.barrier()
    fit.leave_group()


def run_in_a_fork(entry, outcome_path):
    """Run an entry in a process of its own, which ends as the ranks of a user end."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        run(entry, outcome_path)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = (
        "False"  # it still knows the groups of the run before
    )
    for number, entry in enumerate(plan):
        os.environ["MASTER_PORT"] = str(entry["port"])
        code = run_in_a_fork(entry, Path(f"{sys.argv[1]}.{number}"))
        if code and "kill_at" not in entry:
            sys.exit(f"{entry} ended with code {code}")


if __name__ == "__main__":
    main()
