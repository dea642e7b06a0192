"""The fast forward pass gives the plain network's numbers and gradients."""

import pytest
import torch
from benchmarks.plain_network import plain_logits

from quasarloop.grid import LINEAR_GRID, WaveGrid
from quasarloop.network.config import NetworkConfig, RedshiftGrid
from quasarloop.network.model import LineFinder, fold_biases, use_mean_statistics

CONFIGS = {
    "same": NetworkConfig(n_filters=8, n_dense=10),
    "linear": NetworkConfig(n_filters=8, n_dense=10, grid=LINEAR_GRID),
    "valid": NetworkConfig(n_conv=4, n_filters=8, n_dense=10, padding="valid"),
    "head": NetworkConfig(n_filters=8, n_dense=10, redshift=RedshiftGrid(n_channels=6, n_maps=2)),
    "odd": NetworkConfig(
        n_conv=3, n_filters=5, kernel_width=7, stride=3, grid=WaveGrid("log", 3600, 0.01, 40)
    ),
}


def make(config, seed=0):
    model = LineFinder(config, torch.Generator().manual_seed(seed)).train()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for _, norm in model.trunk():
            norm.weight.uniform_(0.5, 1.5, generator=generator)
            norm.bias.uniform_(-0.5, 0.5, generator=generator)
    return model


def outputs(logits):
    return [out for out in logits if out is not None]


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_gradients_and_statistics_equal_the_plain_network(name):
    config = CONFIGS[name]
    flux = torch.randn(6, config.grid.n_bins, generator=torch.Generator().manual_seed(2))
    plain, fast = make(config), make(config)
    fold_biases(fast)
    expected = outputs(plain_logits(plain, flux))
    found = outputs(fast(flux))
    assert len(found) == (3 if config.redshift is None else 4)
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, atol=2e-5, rtol=1e-4)
    for one in found[:2]:
        assert one.shape == (6, config.n_lines, config.n_boxes)
    sum(out.square().mean() for out in expected).backward()
    sum(out.square().mean() for out in found).backward()
    for (key, one), (_, two) in zip(fast.named_parameters(), plain.named_parameters(), strict=True):
        if one.grad is None:  # a bias in front of a normalisation: its gradient is rounding only
            assert "bias" in key
            assert two.grad.abs().max() < 1e-6
        else:
            torch.testing.assert_close(one.grad, two.grad, atol=2e-5, rtol=1e-3)
    for (_, one), (_, two) in zip(fast.trunk(), plain.trunk(), strict=True):
        torch.testing.assert_close(one.running_mean, two.running_mean)
        torch.testing.assert_close(one.running_var, two.running_var)


def test_folded_biases_leave_the_output_as_it_was():
    model = make(CONFIGS["head"])
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for layer in (*model.convs, model.common):
            layer.bias.uniform_(-1, 1, generator=generator)
        for _, norm in model.trunk():
            norm.running_mean.uniform_(-1, 1, generator=generator)
    flux = torch.randn(4, 443, generator=generator)
    model.eval()
    before = model(flux)
    for one, two in zip(plain_logits(model, flux), before, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)
    fold_biases(model)
    for one, two in zip(model(flux), before, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)
    assert not any(layer.bias.any() for layer in (*model.convs, model.common))


def test_mean_statistics_by_hand():
    # The first normalisation sees conv_1's output directly: its mean and variance over batches
    # of 5 and 3 spectra are the means of theirs, weighed 5 to 3.
    model = make(CONFIGS["same"])
    batches = [torch.randn(n, 443, generator=torch.Generator().manual_seed(n)) for n in (5, 3)]
    weight = torch.tensor([5 / 8, 3 / 8])
    with torch.no_grad():
        outs = [
            model.convs[0](torch.nn.functional.pad(flux.unsqueeze(1), (4, 5))) for flux in batches
        ]
    mean = weight @ torch.stack([out.mean((0, 2)) for out in outs])
    var = weight @ torch.stack([out.transpose(0, 1).flatten(1).var(1) for out in outs])
    for _, norm in model.trunk():
        norm.momentum = 0.5
    use_mean_statistics(model, batches)
    norm = model.conv_norms[0]
    torch.testing.assert_close(norm.running_mean, mean, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(norm.running_var, var, atol=1e-6, rtol=1e-4)
