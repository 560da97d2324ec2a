"""Devices: which GPUs a process may use, how many a job needs, and which its children see."""

import types

import pytest
import torch

from warmth import devices, gpus
from warmth.errors import UserError
from warmth.schemas import Evaluate, Train
from warmth.sweep.processes import Processes
from warmth.training.ranks import environment
from warmth.training.sft import free_memory

GIB = 2**30


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ("", ()),
        ("-1", ()),
        ("4,5", ("4", "5")),
        ("0,1,-1,2", ("0", "1")),
        ("GPU-8932f937, 3", ("GPU-8932f937", "3")),
    ],
)
def test_the_visible_gpus_are_those_that_cuda_would_take_from_the_list(
    monkeypatch, listed, expected
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert devices.visible_gpus() == expected


def test_without_a_list_all_that_torch_or_the_driver_counts_are_visible(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert devices.visible_gpus() == ("0", "1", "2")
    command = tmp_path / "nvidia-smi"
    command.write_text(
        "#!/bin/sh\necho 'GPU 0: NVIDIA H100 (UUID: GPU-a)'\necho 'GPU 1: NVIDIA H100 (UUID: "
        "GPU-b)'\n"
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda name: (_ for _ in ()).throw(OSError(name)))
    devices._driver_count.cache_clear()
    assert devices._driver_count() == 2
    devices._driver_count.cache_clear()


def test_only_a_machine_without_gpus_has_deepspeed_on_the_cpu_whatever_its_device_files_are_called(
    monkeypatch,
):
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)
    monkeypatch.setenv(
        "CUDA_VISIBLE_DEVICES", "5"
    )  # a container with the sixth card has no /dev/nvidia0
    assert "DS_ACCELERATOR" not in environment(1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert environment(1)["DS_ACCELERATOR"] == "cpu"


def test_a_test_that_pretends_to_have_gpus_keeps_its_ranks_on_the_cpu(monkeypatch):
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv(devices.AS_ON_GPUS, "2")
    assert devices.visible_gpus() == ("0", "1") and devices.on_gpu()
    assert devices.computes_on().type == "cpu" and environment(2)["DS_ACCELERATOR"] == "cpu"


def test_each_rank_reads_the_free_memory_of_its_own_gpu(monkeypatch):
    asked = []

    class Runtime:
        @staticmethod
        def cudaMemGetInfo(device):
            asked.append(device)
            return (79 - device) * GIB, 80 * GIB

    monkeypatch.setenv("LOCAL_RANK", "5")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "cudart", lambda: Runtime)
    assert free_memory("cuda", 8) == 74 * GIB and asked == [5]


def test_a_rank_takes_its_own_gpu_first_and_is_refused_if_there_is_none(monkeypatch):
    chosen = []
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    devices.set_device()
    assert chosen == [3] and devices.computes_on() == torch.device("cuda", 3)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=r"launcher.ranks=4 is more than the 2 GPUs"):
        devices.set_device()


def evaluation(tensor_parallel, processes=1):
    return Evaluate(engine={"tensor_parallel": tensor_parallel}, processes=processes)


def test_an_evaluation_needs_the_gpus_of_its_engine_for_each_of_its_processes():
    assert gpus.gpus_needed(evaluation(4, processes=2)) == 8
    assert gpus.gpus_needed(Evaluate(engine={}, processes=3)) == 3
    assert (
        gpus.gpus_needed(Train(launcher={"ranks": 4})) == 4
        and gpus.gpus_needed(Train(launcher={})) == 1
    )


@pytest.mark.parametrize(("tensor_parallel", "slots"), [(8, 1), (4, 2), (1, 8)])
def test_jobs_at_once_get_all_gpus_their_engine_shares_a_model_over(
    monkeypatch, tensor_parallel, slots
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4,5,6,7")
    made = Processes().slots([types.SimpleNamespace(study=evaluation(tensor_parallel))])
    assert [len(slot.gpus) for slot in made] == [tensor_parallel] * slots
    assert sorted(name for slot in made for name in slot.gpus) == sorted("01234567")


def test_children_get_slices_of_their_parents_list_and_share_them_if_there_are_too_few():
    assert devices.divide_gpus(("4", "5", "6", "7"), 2, 2) == [("4", "5"), ("6", "7")]
    assert devices.divide_gpus(("4", "5"), 3, 1) == [("4",), ("5",), ("4",)]
    assert devices.divide_gpus((), 2, 1) == [(), ()]
    with pytest.raises(UserError, match="needs 2 GPUs, but 1 are visible"):
        devices.divide_gpus(("4",), 2, 2)
    assert devices.child_environment(("4", "5"), {})["CUDA_VISIBLE_DEVICES"] == "4,5"
    assert devices.child_environment((), {"A": "1"}) == {"A": "1"}


def test_one_process_sees_one_gpu_and_is_never_wrapped_in_data_parallel(monkeypatch, tmp_path):
    from transformers import TrainingArguments

    from warmth.training import launch
    from warmth.training.trainer import one_gpu

    started = {}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    monkeypatch.setattr(
        launch, "start_ranks", lambda run, study, examples, command, env, ranks: started.update(env)
    )
    launch.Local().train(types.SimpleNamespace(folder=tmp_path), None, [])
    assert started["CUDA_VISIBLE_DEVICES"] == "4"
    for number, expected in ((0, 0), (1, 1), (8, 1)):  # a rank that somebody starts by hand
        args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
        args._n_gpu = number
        assert one_gpu(args).n_gpu == expected  # the Trainer wraps a model if this is above 1


def test_more_ranks_than_gpus_are_refused_before_they_start(monkeypatch):
    from warmth.training.launch import DeepSpeed

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    with pytest.raises(
        UserError, match=r"launcher.ranks=4 is more than the 2 GPUs that may be used here \(4, 5\)"
    ):
        DeepSpeed(ranks=4).train(None, None, [])
