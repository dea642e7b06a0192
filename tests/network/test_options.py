"""Options that cannot be are refused by name."""

import pytest

from quasarloop.errors import WeightsError
from quasarloop.network.model import pick_device
from quasarloop.network.options import TrainingOptions


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"patience": 0, "monitor": "loss"}, "patience"),
        ({"patience": 5}, "nothing is monitored"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"shift_bins": -1}, "shift_bins"),
        ({"schedule": "linear"}, "cosine"),
        ({"monitor": "purity"}, "completeness"),
        ({"precision": "float16"}, "bfloat16"),
        ({"device": "tpu"}, "cuda"),
    ],
)
def test_impossible_options(change, message):
    with pytest.raises(WeightsError, match=message):
        TrainingOptions(**change)


def test_devices():
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto", alone=False).type == "cpu"
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(WeightsError, match="no device named"):
        pick_device("tpu")


def test_an_absent_device_is_named(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(WeightsError, match=r"no usable cuda device; usable:.*cpu"):
        pick_device("cuda")
