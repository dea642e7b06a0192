"""Cheap dropout: the statistics of masks, the function and its gradient."""

import numpy as np
import pytest
import torch

from quasarloop.network.dropout import DropoutSource, relu_dropout, rounded_rate

N = 400_000


def source(seed=0):
    return DropoutSource(np.random.SeedSequence(seed))


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5, 0.8])
def test_share_dropped_is_the_rate(rate):
    keep = source().keep(N, rate).numpy()
    assert set(np.unique(keep)) == {0.0, 1.0}
    error = np.sqrt(rate * (1 - rate) / N)
    assert abs((1 - keep.mean()) - rate) < 4 * error
    assert abs(rounded_rate(rate) - rate) <= 1 / 131072


@pytest.mark.parametrize("rate", [0.2, 0.8])
def test_masks_vary_as_independent_draws_do(rate):
    # Sums over blocks of any length have binomial variance, along elements and along steps.
    stream = source(1)
    masks = np.stack([stream.keep(2000, rate).numpy() for _ in range(400)])
    expected = rate * (1 - rate)
    for axis in (0, 1):
        sums = masks.sum(axis=axis)
        variance = sums.var(ddof=1) / masks.shape[axis]
        error = expected * np.sqrt(2 / (len(sums) - 1))
        assert abs(variance - expected) < 4 * error
    # No correlation with a neighbour, with the other numbers of one 64-bit draw, or with
    # the same element one step later.
    centred = masks - (1 - rate)
    for lag in (1, 2, 3, 4, 8, 100):
        correlation = (centred[:, :-lag] * centred[:, lag:]).mean() / expected
        assert abs(correlation) < 4 / np.sqrt(masks.size)
    correlation = (centred[:-1] * centred[1:]).mean() / expected
    assert abs(correlation) < 4 / np.sqrt(masks.size)


def test_every_one_of_65536_values_is_equally_likely():
    # The rate is exact only if the 16-bit numbers are uniform: chi square of their low byte.
    draws = np.random.SFC64(np.random.SeedSequence(3)).random_raw(N // 4).view(np.uint16)
    counts = np.bincount(draws & 0xFF, minlength=256)
    chi2 = ((counts - N / 256) ** 2 / (N / 256)).sum()
    assert abs(chi2 - 255) < 5 * np.sqrt(2 * 255)


def test_output_is_relu_kept_or_zero_and_its_mean_is_unchanged():
    x = torch.randn(64, 100, 1, 50, generator=torch.Generator().manual_seed(0))
    out = relu_dropout(x, 0.2, source())
    relu = x.clamp_min(0)
    scaled = relu / (1 - rounded_rate(0.2))
    assert ((out == 0) | torch.isclose(out, scaled)).all()
    assert out.mean().item() == pytest.approx(relu.mean().item(), rel=0.01)


def test_gradient_follows_what_was_kept():
    x = torch.randn(1000, generator=torch.Generator().manual_seed(1), requires_grad=True)
    out = relu_dropout(x, 0.5, source())
    out.backward(torch.full_like(out, 3.0))
    expected = torch.where(out > 0, 3.0 / (1 - rounded_rate(0.5)), 0.0)
    torch.testing.assert_close(x.grad, expected)


def test_same_seed_same_mask_whatever_the_memory_order():
    x = torch.randn(8, 6, 1, 5).contiguous(memory_format=torch.channels_last)
    one, two = relu_dropout(x, 0.3, source(5)), relu_dropout(x, 0.3, source(5))
    assert torch.equal(one, two)
    assert not torch.equal(one, relu_dropout(x, 0.3, source(6)))
    strided = torch.randn(8, 12)[:, ::2]
    assert relu_dropout(strided, 0.3, source(5)).shape == (8, 6)


def test_half_precision():
    x = torch.randn(1000).to(torch.bfloat16)
    out = relu_dropout(x, 0.2, source())
    assert out.dtype == torch.bfloat16
    assert (out == 0).float().mean().item() == pytest.approx(0.6, abs=0.06)


def test_the_mask_does_not_depend_on_the_precision():
    full, half = (source(2).keep(1001, 0.3, t) for t in (torch.float32, torch.bfloat16))
    assert half.dtype == torch.bfloat16
    assert torch.equal(full, half.float())


def test_rate_zero_is_relu_and_no_source_is_torch():
    x = torch.randn(100)
    assert torch.equal(relu_dropout(x, 0.0, source()), x.clamp_min(0))
    torch.manual_seed(0)
    one = relu_dropout(x, 0.5, None)
    torch.manual_seed(0)
    assert torch.equal(one, torch.nn.functional.dropout(x.clamp_min(0), 0.5))
