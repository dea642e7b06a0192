"""Options that cannot be are refused by name."""

import pytest

from quasarloop.errors import WeightsError
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
