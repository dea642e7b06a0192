"""The check of a GPU runs anywhere, and notices what it is for."""

import numpy as np
import pytest
import torch
from benchmarks.gpu_answers import Answers, compared
from benchmarks.gpu_check import main
from benchmarks.gpu_choices import _computing_in, ten_bits
from hypothesis import given
from hypothesis import strategies as st

from quasarloop.artefacts import read_manifest
from quasarloop.ensemble.votes import VoteRule

T = VoteRule().decision.confidence


def test_it_passes_on_the_cpu_and_writes_both_files(tmp_path):
    assert main(["--device", "cpu", "--tiny", "--out", str(tmp_path)]) == 0
    found = read_manifest(tmp_path / "gpu_check.json")
    assert [row["differ"] for row in found["answers"]] == [0, 0, 0]
    assert all(row["per_s"] > 0 for row in found["rates"])
    tf32, bfloat16, *_ = found["fewer_bits"]
    assert tf32["per_s"] is None
    # Fewer bits, and still the same network.
    assert 1e-6 < tf32["largest_difference"] < bfloat16["largest_difference"] < 0.1
    assert bfloat16["per_s"] > 0
    for word in ("2 networks, stacked", "vote on a store, 2 processes", "training, 2 processes"):
        assert any(word in row["name"] for row in found["rates"])
    with_roof = [row for row in found["rates"] if row["roofline_per_s"] is not None]
    assert all(row["roofline_per_s"] > 0 for row in with_roof)
    table = (tmp_path / "gpu_check.md").read_text()
    for row in (*found["answers"], *found["fewer_bits"], *found["rates"]):
        assert f"| {row['name']} |" in table


@pytest.mark.parametrize(
    ("cpu", "other", "differ", "unexplained", "agrees"),
    [
        (0.5, 0.5, 0, 0, True),
        (0.5, 0.50005, 0, 0, True),
        (0.5, 0.501, 0, 0, False),  # too far, though the class is the same
        (T - 4e-5, T + 4e-5, 1, 0, True),  # a neighbour of the threshold
        (T - 2e-4, T + 2e-4, 1, 1, False),
    ],
)
def test_confidences_and_classes_are_held_against_the_cpus(cpu, other, differ, unexplained, agrees):
    z = np.full((1, 3), 1.0)
    ours, theirs = (Answers(np.array([[0.1, c, 0.999]]), z) for c in (cpu, other))
    row = compared("", ours, theirs, VoteRule())
    assert (row["differ"], row["unexplained"], row["agrees"]) == (differ, unexplained, agrees)


def test_another_redshift_counts_unless_it_is_next_to_the_border():
    confidence = np.full((1, 2), 0.999)
    border = VoteRule().decision.high_z_min
    for below, unexplained in ((border - 5e-4, 0), (border - 0.1, 1)):
        ours = Answers(confidence, np.array([[below, 1.0]]))
        theirs = Answers(confidence, np.array([[border + 5e-4, 1.0]]))
        row = compared("", ours, theirs, VoteRule())
        assert (row["differ"], row["unexplained"]) == (1, unexplained)


@pytest.mark.parametrize(
    ("bits", "tf32", "low"),
    [("float32", False, False), ("TF32", True, False), ("bfloat16", False, True)],
)
def test_the_bits_of_a_measurement_are_set_and_put_back(bits, tf32, low):
    def now():
        convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
        return convolutions.allow_tf32, products.allow_tf32, torch.is_autocast_enabled("cpu")

    before = now()
    with _computing_in(bits, torch.device("cpu")):
        assert now() == (tf32, tf32, low)
    assert now() == before


@given(st.floats(width=32, min_value=2.0**-100, max_value=2.0**100))
def test_ten_bits_are_the_nearest_numbers_of_tf32(value):
    rounded = ten_bits(torch.tensor([value, -value]))
    assert rounded[0] == -rounded[1]
    assert torch.equal(ten_bits(rounded), rounded)
    fraction, _ = np.frexp(rounded[0].item())
    assert fraction * 2**11 == int(fraction * 2**11)
    assert abs(rounded[0].item() - value) <= value * 2.0**-11
