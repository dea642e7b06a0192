"""The loss: numbers by hand, a plain numpy reference, gradients, weights, stability."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quasarloop.grid import WaveGrid
from quasarloop.lines import EMISSION_LINES
from quasarloop.network.config import NetworkConfig
from quasarloop.network.loss import Targets, line_finder_loss

N_BOXES = 13


def small_config(n_lines=1, n_boxes=2):
    return NetworkConfig(
        n_conv=1,
        n_filters=2,
        n_boxes=n_boxes,
        lines=EMISSION_LINES[:n_lines],
        grid=WaveGrid("log", 3600.0, 0.01, 32),
    )


def reference(confidence, offset, box, offset_true, weight, mean_over):
    """The formula in words, loop by loop."""
    n, n_lines, n_boxes = box.shape
    total = 0.0
    for line in range(n_lines):
        sums = {"pos": 0.0, "n_pos": 0.0, "neg": 0.0, "n_neg": 0.0, "off": 0.0}
        for row in range(n):
            own = {"pos": 0.0, "n_pos": 0.0, "neg": 0.0, "n_neg": 0.0, "off": 0.0}
            for j in range(n_boxes):
                p = confidence[row, line, j]
                if box[row, line, j]:
                    own["pos"] -= np.log(p)
                    own["off"] += (offset_true[row, line] - offset[row, line, j]) ** 2
                    own["n_pos"] += 1
                else:
                    own["neg"] -= np.log(1 - p)
                    own["n_neg"] += 1
            w = weight[row, line]
            if mean_over == "spectrum":
                n_pos = max(own["n_pos"], 1)
                total += w * ((own["pos"] + own["off"]) / n_pos + own["neg"] / own["n_neg"]) / n
            for key, value in own.items():
                sums[key] += w * value
        if mean_over == "batch":
            if sums["n_pos"]:
                total += (sums["pos"] + sums["off"]) / sums["n_pos"]
            if sums["n_neg"]:
                total += sums["neg"] / sums["n_neg"]
    return total


def random_batch(seed, n=7, n_lines=3, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    box = np.zeros((n, n_lines, N_BOXES))
    for row in range(n):
        for line in range(n_lines):
            if rng.random() < 0.6:
                box[row, line, rng.integers(N_BOXES)] = 1
    arrays = {
        "box_logits": rng.normal(0, 3, box.shape),
        "offset_logits": rng.normal(0, 3, box.shape),
        "box": box,
        "offset": rng.random((n, n_lines)) * box.any(axis=2),
        "weight": rng.integers(0, 2, (n, n_lines)).astype(float),
    }
    return {name: torch.tensor(value, dtype=dtype) for name, value in arrays.items()}


def total(batch, config, mean_over="spectrum"):
    targets = Targets(batch["box"], batch["offset"], batch["weight"])
    return line_finder_loss(
        batch["box_logits"], batch["offset_logits"], targets, config, mean_over=mean_over
    ).total


def test_two_spectra_by_hand():
    # Two boxes, one line. Spectrum 0 has it in box 1 at 0.5; spectrum 1 has none.
    # Confidences: 0: (1/4, 3/4); 1: (1/2, 1/5). Offsets of logit 0: -0.1 + 1.2/2 = 0.5.
    box_logits = torch.tensor([[[-np.log(3), np.log(3)]], [[0.0, -np.log(4)]]])
    offset_logits = torch.zeros(2, 1, 2, dtype=torch.float64)
    targets = Targets(
        box=torch.tensor([[[0.0, 1.0]], [[0.0, 0.0]]]),
        offset=torch.tensor([[0.8], [0.0]]),
        weight=torch.ones(2, 1),
    )
    parts = line_finder_loss(box_logits, offset_logits, targets, small_config())
    assert parts.positive.item() == pytest.approx(np.log(4 / 3) / 2)
    own_negative = (np.log(4 / 3), (np.log(2) + np.log(5 / 4)) / 2)
    assert parts.negative.item() == pytest.approx(sum(own_negative) / 2)
    assert parts.offset.item() == pytest.approx(0.3**2 / 2, rel=1e-6)
    parts = line_finder_loss(box_logits, offset_logits, targets, small_config(), mean_over="batch")
    assert parts.positive.item() == pytest.approx(np.log(4 / 3))  # one true box in the batch
    assert parts.negative.item() == pytest.approx((np.log(4 / 3) + np.log(2) + np.log(5 / 4)) / 3)
    assert parts.offset.item() == pytest.approx(0.3**2, rel=1e-6)


@given(seed=st.integers(0, 2**32 - 1), mean_over=st.sampled_from(["spectrum", "batch"]))
@settings(deadline=None, max_examples=30)
def test_equals_the_plain_formula(seed, mean_over):
    batch = random_batch(seed)
    config = small_config(3, N_BOXES)
    sigmoid = {k: 1 / (1 + np.exp(-batch[k].numpy())) for k in ("box_logits", "offset_logits")}
    expected = reference(
        sigmoid["box_logits"],
        -0.1 + 1.2 * sigmoid["offset_logits"],
        batch["box"].numpy(),
        batch["offset"].numpy(),
        batch["weight"].numpy(),
        mean_over,
    )
    assert total(batch, config, mean_over).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("mean_over", ["spectrum", "batch"])
def test_gradient_is_that_of_finite_differences(mean_over):
    batch = random_batch(3)
    config = small_config(3, N_BOXES)

    def loss(box_logits, offset_logits):
        logits = {"box_logits": box_logits, "offset_logits": offset_logits}
        return total({**batch, **logits}, config, mean_over)

    inputs = [batch[k].requires_grad_() for k in ("box_logits", "offset_logits")]
    assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize("mean_over", ["spectrum", "batch"])
def test_weight_zero_leaves_no_gradient(mean_over):
    batch = random_batch(4)
    batch["weight"][2] = 0
    batch["box_logits"].requires_grad_()
    batch["offset_logits"].requires_grad_()
    total(batch, small_config(3, N_BOXES), mean_over).backward()
    assert not batch["box_logits"].grad[2].any()
    assert not batch["offset_logits"].grad[2].any()
    assert batch["box_logits"].grad[0].any()


def test_the_offset_is_learned_in_the_true_box_only():
    batch = random_batch(5)
    batch["weight"][:] = 1
    batch["offset_logits"].requires_grad_()
    total(batch, small_config(3, N_BOXES)).backward()
    np.testing.assert_array_equal(
        batch["offset_logits"].grad.numpy() != 0, batch["box"].numpy() == 1
    )


def test_huge_logits_stay_finite():
    batch = random_batch(6, dtype=torch.float32)
    batch["weight"][:] = 1
    batch["box_logits"] *= 1e4
    batch["box_logits"].requires_grad_()
    loss = total(batch, small_config(3, N_BOXES))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(batch["box_logits"].grad).all()


@pytest.mark.parametrize("mean_over", ["spectrum", "batch"])
def test_a_batch_without_any_line_or_weight_is_finite(mean_over):
    batch = random_batch(7)
    batch["box"][:] = 0
    assert torch.isfinite(total(batch, small_config(3, N_BOXES), mean_over))
    batch["weight"][:] = 0
    assert total(batch, small_config(3, N_BOXES), mean_over).item() == 0
