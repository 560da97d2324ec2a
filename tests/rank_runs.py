"""Several trainings one after another in the same ranks: `python -m torch.distributed.run ... tests/rank_runs.py PLAN`.

Starting two ranks costs more than training a tiny model, so tests hand over a list of run folders. `stop_at` tells the
ranks to end after a step, as SIGTERM does; the next entry of the same folder then continues it. What a run keeps is
compared with the parts of the float32 values that each rank's optimiser holds, read without the functions under test.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path

import torch
from accelerate.state import AcceleratorState, GradientState
from safetensors.torch import load_file
from transformers import TrainerCallback
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from warmth.training import checkpoints, fit

STATE = {"stop_at": None, "trainer": None, "exact": []}


class Stop(TrainerCallback):
    """Tells this rank to end after a step."""

    def on_step_begin(self, args, state, control, **_):
        if STATE["stop_at"] == state.global_step:
            os.kill(os.getpid(), 15)


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


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    outcomes = []
    for entry in plan:
        STATE.update(stop_at=entry.get("stop_at"), exact=[])
        stopped = fit.train(Path(entry["folder"]), None)
        model = STATE["trainer"].model_wrapped
        outcomes.append(
            {
                "stopped": stopped,
                "exact": STATE["exact"],
                "optimiser": type(getattr(model, "optimizer", None)).__name__,
                "divided_at_loading": bool(getattr(STATE["trainer"].args.hf_deepspeed_config, "is_zero3", lambda: 0)()),
            }
        )
        del model
        STATE["trainer"] = None
        unset_hf_deepspeed_config()
        AcceleratorState._reset_state()
        GradientState._reset_state()
        gc.collect()
        torch.distributed.barrier()
    if torch.distributed.get_rank() == 0:
        Path(sys.argv[1]).with_suffix(".out.json").write_text(json.dumps(outcomes))
    torch.distributed.barrier()
    fit.leave_group()


if __name__ == "__main__":
    main()
