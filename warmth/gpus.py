"""How many GPUs a job needs at once: the planner, the slots of a machine, Slurm's requests and
shards all ask here.
"""

from __future__ import annotations

from warmth.devices import memory_gib
from warmth.memory import GIB, gpus_to_serve, shape_of
from warmth.schemas import Evaluate, Model, Train


def gpus_needed(study: Train | Evaluate, gpu_gib: float | None = None) -> int:
    """Count the GPUs (or on a CPU the processes) that one job occupies at once on each of its
    machines.

    A training needs one for each rank; an evaluation those that share a model, for each process
    that answers.
    """
    if isinstance(study, Train):
        return int(study.launcher.get("ranks") or 1)
    return gpus_of_process(study, gpu_gib) * study.processes


def gpus_of_process(study: Evaluate, gpu_gib: float | None = None) -> int:
    """Count the GPUs that one answering process needs.

    Args:
        study: its config; `engine.tensor_parallel=null` is answered from the model's shape.
        gpu_gib: memory of one GPU where it will run; None: of those here.
    """
    engine = study.engine
    if "tensor_parallel" not in engine:
        return 1
    sequences = int(engine.get("max_sequences", 1))
    return int(
        engine["tensor_parallel"]
        or gpus_to_answer(study.model, float(engine["gpu_memory"]), sequences, gpu_gib)
    )


def gpus_to_answer(model: Model, share: float, sequences: int, gpu_gib: float | None = None) -> int:
    """Count the GPUs that vLLM needs for a model: the fewest that hold it; 1 if its shape or the
    GPU is not known.

    Args:
        model: which one.
        share: of each GPU's memory that vLLM may take.
        sequences: answers under way at once.
        gpu_gib: memory of one GPU where it will run; None: of those here.
    """
    shape = shape_of(model)
    gpu_gib = memory_gib() if gpu_gib is None else gpu_gib
    if shape is None or not gpu_gib:
        return 1
    return gpus_to_serve(shape, share * gpu_gib * GIB, sequences)
