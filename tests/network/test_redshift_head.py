"""The redshift head: sums by hand, planted evidence, and the networks that carry it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from benchmarks.plain_network import plain_predict

from quasarloop.errors import WeightsError
from quasarloop.grid import LINEAR_GRID, LOG_GRID, WaveGrid
from quasarloop.lines import BAL_LINE, EMISSION_LINES
from quasarloop.network.config import (
    PRESETS,
    NetworkConfig,
    RedshiftGrid,
    config_from_dict,
    config_to_dict,
    preset,
)
from quasarloop.network.decode import LineOutputs
from quasarloop.network.joint import joint_redshifts
from quasarloop.network.loss import redshift_loss, redshift_targets
from quasarloop.network.model import LineFinder
from quasarloop.network.predict import Predictor
from quasarloop.network.redshift_head import Reader, RedshiftHead, line_reads
from quasarloop.network.weights import from_module, to_module
from quasarloop.truth import SpecType

HEAD = RedshiftGrid(n_channels=6)
CONFIG = NetworkConfig(n_filters=8, n_dense=10, redshift=replace(HEAD, n_maps=3))
VALID = NetworkConfig(n_conv=4, n_filters=8, n_dense=10, padding="valid", redshift=HEAD)
LINEAR = NetworkConfig(n_filters=8, n_dense=10, grid=LINEAR_GRID, redshift=HEAD)


def test_redshifts_of_the_grid_by_hand():
    # log10(8) = 0.90309: 904 redshifts, the last 10**0.903 - 1; knots at 0, 20, ... 920: 47.
    assert (HEAD.n_z, HEAD.n_knots) == (904, 47)
    assert HEAD.z[0] == 0
    assert HEAD.z[-1] == pytest.approx(10**0.903 - 1)


def test_a_line_is_read_at_the_bin_it_falls_into():
    """Mg II at z = 1: 5592.7 A, bin log10(5592.7 / 3600) / 1e-3 = 191.32."""
    lower, fraction = line_reads(HEAD, (EMISSION_LINES[3],), LOG_GRID, 0.0, 444)
    k = int(np.argmin(np.abs(HEAD.z - 1)))
    position = np.log10(2796.3511 * (1 + HEAD.z[k]) / 3600) / 1e-3
    place = lower[k, 0] - 1 + fraction[k, 0]  # place p is the middle of bin p
    assert place == pytest.approx(position - 0.5, abs=1e-5)
    assert position == pytest.approx(191.3, abs=0.5)


@pytest.mark.parametrize(("grid", "n_bins"), [(LOG_GRID, 443), (LINEAR_GRID, 458)])
def test_lines_outside_the_map_read_nothing(grid, n_bins):
    lower, fraction = line_reads(HEAD, EMISSION_LINES, grid, 0.0, n_bins)
    rest = np.array([line.wave_rest_aa for line in EMISSION_LINES])
    wave = np.multiply.outer(1 + HEAD.z, rest)
    blue, red = wave < grid.start_aa * 0.99, wave > grid.end_aa * 1.01
    assert np.all(lower[blue] + fraction[blue] < 1)
    assert np.all(lower[blue] == 0)
    assert np.all(lower[red] == n_bins)  # the last place and beyond: mostly beyond
    assert np.all(fraction[red] > 0.99)
    assert lower.min() >= 0
    assert lower.max() + 1 <= n_bins + 1


@pytest.mark.parametrize("config", [CONFIG, VALID, LINEAR], ids=["same", "valid", "linear"])
def test_planted_evidence_adds_up_where_the_lines_meet(config):
    """One place of evidence 1 per line, where z = 2.3 puts it: ln p(z) is 4 there and less else."""
    z = 2.3
    lines = [config.lines[i] for i in config.emission_index]
    n_places = config.widths[2] * 4
    first = 12 if config.padding == "valid" else 0  # (4.5 + 2 * 4.5) - 1.5 bins in
    evidence = torch.zeros(1, n_places, len(lines))
    for i, line in enumerate(lines):
        position = config.grid.position_of(line.wave_rest_aa * (1 + z))
        if np.isfinite(position):
            evidence[0, int(position) - first, i] = 1.0
    outputs = Reader.of(config).log_p(evidence, torch.zeros(1, HEAD.n_knots))[0].numpy()
    best = HEAD.z[outputs.argmax()]
    assert np.log10((1 + best) / (1 + z)) == pytest.approx(0, abs=1.5e-3)
    assert outputs.max() > 2.2  # of 4, by linear interpolation between places
    assert np.sort(outputs[np.abs(HEAD.z - z) > 0.1])[-1] <= 1.0 + 1e-6


def test_the_coarse_part_runs_straight_between_knots():
    knots = torch.arange(47.0)[None] ** 2
    outputs = Reader.of(CONFIG).log_p(torch.zeros(1, 444, 6), knots)[0].numpy()
    assert outputs[[0, 20, 30, 903]].tolist() == pytest.approx(
        [0, 1, 2.5, 0.85 * 45**2 + 0.15 * 46**2]
    )


def test_loss_by_hand():
    # Two quasars and a star; p(z) uniform over 904 redshifts: ln 904 each, over three spectra.
    targets = redshift_targets(
        [SpecType.QSO, SpecType.QSO, SpecType.STAR], [0.5, 3.0, 0.0], np.ones(3), HEAD
    )
    assert targets.weight.tolist() == [1, 1, 0]
    assert targets.lower[0] == 176  # log10(1.5) = 0.17609
    assert targets.fraction[0] == pytest.approx(0.0913, abs=1e-4)
    loss = redshift_loss(torch.zeros(3, HEAD.n_z), targets)
    assert float(loss) == pytest.approx(2 * np.log(904) / 3, rel=1e-6)


def test_labels_that_teach_nothing_have_weight_0():
    known = redshift_targets(
        [SpecType.QSO] * 4, [np.nan, 8.5, -0.1, 2.0], [False, True, True, False], HEAD
    )
    assert known.weight.tolist() == [0, 0, 0, 0]
    assert known.lower.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("config", [CONFIG, VALID, LINEAR], ids=["same", "valid", "linear"])
def test_the_fast_predictor_says_what_the_plain_network_says(config):
    weights = from_module(LineFinder(config, torch.Generator().manual_seed(1)))
    flux = np.random.default_rng(0).normal(size=(150, config.grid.n_bins)).astype(np.float32)
    fast, plain = Predictor(weights).predict(flux, redshifts=True), plain_predict(weights, flux)
    np.testing.assert_allclose(fast.log_p, plain.log_p, atol=2e-5)
    assert np.ptp(plain.log_p, axis=1).min() > 0.1
    assert Predictor(weights).predict(flux).log_p is None  # not asked for, not computed
    part = Predictor(weights).predict(flux[140:], redshifts=True)
    np.testing.assert_allclose(part.log_p, fast.log_p[140:], atol=2e-5)


def test_joint_redshifts_come_from_the_head_if_there_is_one():
    weights = from_module(LineFinder(CONFIG, torch.Generator().manual_seed(1)))
    flux = np.random.default_rng(0).normal(size=(5, 443)).astype(np.float32)
    outputs = Predictor(weights).predict(flux, redshifts=True)
    log_p = np.full_like(outputs.log_p, -30)
    log_p[:, 500] = 0
    found = joint_redshifts(replace(outputs, log_p=log_p), CONFIG)
    np.testing.assert_allclose(found.z, HEAD.z[500])
    boxes_only = joint_redshifts(Predictor(weights).predict(flux), CONFIG)
    assert not np.allclose(boxes_only.z, HEAD.z[500])
    assert len(outputs[1:3]) == 2
    np.testing.assert_array_equal(outputs[1:3].log_p, outputs.log_p[1:3])


def test_in_doubt_the_boxes_say_which_peak():
    """Peaks at z = 0.995 and 2.16, the wrong one a little higher; Mg II and C III are found."""
    right, wrong = 300, 500
    confidence = np.full((1, 7, 13), 1e-4)
    offset = np.full((1, 7, 13), 0.5, np.float32)
    for line in (2, 3):
        rest = CONFIG.lines[line].wave_rest_aa
        place = LOG_GRID.position_of(rest * (1 + HEAD.z[right])) * 13 / 443
        confidence[0, line, int(place)] = 0.999
        offset[0, line, int(place)] = place % 1
    log_p = np.full((1, HEAD.n_z), -40, np.float32)
    log_p[0, [right, wrong]] = -1.0, 0.0
    found = joint_redshifts(LineOutputs(confidence, offset, log_p), CONFIG)
    assert found.z[0] == pytest.approx(HEAD.z[right], abs=1e-6)
    assert found.z_alt[0] == pytest.approx(HEAD.z[wrong], abs=1e-6)
    assert found.p_alt[0] < 0.1
    # Without doubt they have no say.
    log_p[0, right] = -10.0
    sure = joint_redshifts(LineOutputs(confidence, offset, log_p), CONFIG)
    assert sure.z[0] == pytest.approx(HEAD.z[wrong], abs=1e-6)


def test_published_networks_are_as_they_were():
    for name in ("busca2018", "green2025"):
        assert PRESETS[name].redshift is None
        assert "redshift" not in config_to_dict(PRESETS[name])
    ours = preset("quasarloop2026")
    assert replace(ours, redshift=None) == PRESETS["green2025"]
    assert config_from_dict(config_to_dict(ours)) == ours
    # Same seed: the first weights of all that is shared are those of the published network.
    old = LineFinder(PRESETS["green2025"], torch.Generator().manual_seed(3)).state_dict()
    new = LineFinder(ours, torch.Generator().manual_seed(3)).state_dict()
    assert all(torch.equal(value, new[name]) for name, value in old.items())


def test_modules_with_a_head_survive_the_journey():
    weights = from_module(LineFinder(CONFIG, torch.Generator().manual_seed(1)))
    assert from_module(to_module(weights)).digest() == weights.digest()
    cold = replace(
        weights, config=replace(CONFIG, redshift=replace(CONFIG.redshift, temperature=2.0))
    )
    assert cold.digest() != weights.digest()


@pytest.mark.parametrize(
    "change", [{"conv": 0}, {"n_channels": 0}, {"temperature": 0.0}, {"step": -1.0}]
)
def test_impossible_heads_are_refused(change):
    with pytest.raises(WeightsError, match=next(iter(change))):
        RedshiftGrid(**change)


def test_heads_that_do_not_fit_the_network_are_refused():
    with pytest.raises(WeightsError, match="convolution 7 of 6"):
        NetworkConfig(redshift=RedshiftGrid(conv=7, n_maps=1))
    with pytest.raises(WeightsError, match="emission line"):
        NetworkConfig(lines=(BAL_LINE,), redshift=HEAD)


def test_other_kernels_know_where_their_cells_lie():
    """Evidence that follows a bright bin must move with it, whatever kernel and stride."""
    grid = WaveGrid("log", 3600, 0.005, 90)
    config = NetworkConfig(
        n_conv=2, n_filters=1, kernel_width=3, stride=3, n_dense=2, grid=grid, padding="valid",
        redshift=RedshiftGrid(n_channels=1, conv=1, step=0.005),
    )  # fmt: skip
    # The first output reads bins 0, 1, 2 and stands for them: the first place is bin 0.
    reader = Reader.of(config)
    evidence = torch.zeros(1, 90, 6)
    evidence[0, 30, 3] = 1
    outputs = reader.log_p(evidence, torch.zeros(1, config.redshift.n_knots))[0]
    z = config.redshift.z[int(outputs.argmax())]
    assert grid.position_of(2796.3511 * (1 + z)) == pytest.approx(30.5, abs=0.51)


@pytest.mark.parametrize("n_maps", [1, 2, 3])
def test_a_head_says_the_same_while_it_learns_and_after(n_maps):
    config = replace(CONFIG, redshift=replace(HEAD, n_maps=n_maps))
    head = RedshiftHead(config, torch.Generator().manual_seed(3))
    draw = torch.Generator().manual_seed(4)
    assert config.redshift is not None
    cells = [
        torch.randn(5, config.widths[n], config.n_filters, generator=draw).relu()
        for n in config.redshift.maps
    ]
    hidden = torch.randn(5, config.n_dense, generator=draw)
    learning = head(cells, hidden)
    assert learning.requires_grad
    with torch.inference_mode():
        after = head(cells, hidden)
    np.testing.assert_allclose(after.numpy(), learning.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_ln_p_is_the_sum_of_what_lies_at_each_lines_place():
    """Against plain interpolation, line by line, 0 outside the map."""
    lines = [CONFIG.lines[i] for i in CONFIG.emission_index]
    draw = np.random.default_rng(5)
    evidence = draw.normal(size=(3, 444, len(lines))).astype(np.float32)
    outputs = Reader.of(CONFIG).log_p(torch.from_numpy(evidence), torch.zeros(3, HEAD.n_knots))
    total = np.zeros((3, HEAD.n_z))
    for i, line in enumerate(lines):
        wave = line.wave_rest_aa * (1 + HEAD.z)
        place = np.log10(wave / CONFIG.grid.start_aa) / CONFIG.grid.step - 0.5
        for row in range(3):
            ends = np.concatenate([[0], evidence[row, :, i], [0]])
            total[row] += np.interp(place, np.arange(-1, 445), ends)
    np.testing.assert_allclose(outputs.numpy(), total, atol=5e-3)  # the last 0.1 % is never left
