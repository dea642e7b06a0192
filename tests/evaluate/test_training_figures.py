"""The figure of a training's history: what is drawn, with and without validation."""

import numpy as np
import pytest

from quasarloop.evaluate.figures import history_figure, save_figure
from quasarloop.network.records import EpochRecord


def judged(epoch):
    return EpochRecord(
        epoch, 1e-3, 2 / epoch, 1 / epoch, 0.9 / epoch, 0.1 / epoch, 2.2 / epoch, 1.2 / epoch,
        0.8 / epoch, 0.2 / epoch, 1 - 1 / epoch, 0.98, 0.01 / epoch, 0.02 / epoch, epoch == 3,
    )  # fmt: skip


def test_curves_are_the_history_with_impurity_five_times():
    epochs = [judged(k) for k in range(1, 6)]
    figure = history_figure(epochs, "w.h5")
    loss, shares, scatter = figure.axes
    curves = {line.get_label(): line for line in shares.lines}
    np.testing.assert_allclose(curves["completeness"].get_ydata(), [1 - 1 / k for k in range(1, 6)])
    dashed = curves["5 × impurity"]
    np.testing.assert_allclose(dashed.get_ydata(), 5 * 0.02)
    assert dashed.get_linestyle() == "--"
    nmad = next(line for line in scatter.lines if line.get_label() == "NMAD")
    assert nmad.get_ydata()[0] == pytest.approx(2997.92458)
    assert "km/s" in scatter.get_ylabel()
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "epoch"]
    marks = [line for line in loss.lines if list(line.get_xdata()) == [3, 3]]
    assert len(marks) == 1  # the epoch kept


def test_without_validation_only_the_loss_is_drawn(tmp_path):
    epochs = [EpochRecord(k, 1e-3, 2 / k, 1 / k, 0.9 / k, 0.1 / k) for k in range(1, 4)]
    figure = history_figure(epochs)
    assert len(figure.axes) == 1
    save_figure(figure, tmp_path / "a.png")
    save_figure(history_figure(epochs), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_epochs_that_find_nothing_draw_as_gaps(tmp_path):
    nan = float("nan")
    epochs = [EpochRecord(k, 1e-3, 2, 1, 1, 0, 2, 1, 1, 0, 0.0, nan, nan, nan) for k in (1, 2)]
    save_figure(history_figure(epochs), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000
