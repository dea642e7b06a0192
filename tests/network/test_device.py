"""Where networks compute: one device for all processes, one GPU for each."""

import pytest
import torch

from quasarloop.engine import Engine
from quasarloop.errors import WeightsError
from quasarloop.network.device import pick_device, place_tasks, visible_gpus


@pytest.fixture
def machine(monkeypatch):
    """Make this machine have so many GPUs of NVIDIA, and none of Apple's unless it is given."""

    def have(n_gpus, *, apple=False):
        monkeypatch.setattr("torch.cuda.is_available", lambda: n_gpus > 0)
        monkeypatch.setattr("torch.cuda.device_count", lambda: n_gpus)
        monkeypatch.setattr("torch.backends.mps.is_available", lambda: apple)

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return have


def test_a_device_is_found_or_named(machine):
    machine(0)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    with pytest.raises(WeightsError, match=r"no usable cuda device; usable: cpu"):
        pick_device("cuda")
    with pytest.raises(WeightsError, match="no device named 'abacus'; known: auto, cpu, cuda, mps"):
        pick_device("abacus")
    machine(0, apple=True)
    assert pick_device("auto").type == "mps"
    machine(1, apple=True)
    assert pick_device("auto").type == "cuda"
    assert pick_device("cuda:0") == torch.device("cuda:0")


@pytest.mark.parametrize("workers", [1, 4])
def test_the_device_does_not_depend_on_the_number_of_processes(machine, workers):
    engine = Engine(workers=workers)
    machine(0)
    for name in ("cpu", "auto"):
        assert place_tasks(name, engine) == ("cpu", engine)
    with pytest.raises(WeightsError, match="no usable cuda device"):
        place_tasks("cuda", engine)
    machine(2, apple=True)
    shared_out = Engine(workers=workers, gpus=("0", "1"))
    assert place_tasks("cpu", engine) == ("cpu", engine)
    assert place_tasks("mps", engine) == ("mps", engine)
    for name in ("cuda", "auto"):
        assert place_tasks(name, engine) == ("cuda", shared_out)
    assert place_tasks("cpu", None) == ("cpu", Engine())


def test_workers_of_a_cluster_use_the_device_they_see(machine):
    machine(0)  # a login node
    cluster = Engine(scheduler="tcp://10.0.0.1:8786")
    assert place_tasks("cuda", cluster) == ("cuda", cluster)
    assert place_tasks("auto", cluster) == ("cpu", cluster)
    with pytest.raises(WeightsError, match="no device named 'tpu'"):
        place_tasks("tpu", cluster)


@pytest.mark.parametrize(
    ("listed", "n_seen", "expected"),
    [
        (None, 3, ("0", "1", "2")),
        ("4,2", 2, ("4", "2")),
        ("GPU-8932f937,GPU-1b", 2, ("GPU-8932f937", "GPU-1b")),
        ("1,-1,0", 1, ("1",)),  # CUDA stops at the first it does not know
        ("", 0, ()),
    ],
)
def test_gpus_that_the_environment_leaves_are_shared_out(
    machine, monkeypatch, listed, n_seen, expected
):
    machine(n_seen)
    if listed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert visible_gpus() == expected
