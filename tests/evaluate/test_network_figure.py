"""The figure of networks is drawn from their configurations (paper, Fig. 1)."""

import matplotlib.colors as mc
import pytest
from matplotlib.patches import Rectangle

from quasarloop.evaluate.figures import COLOURS, save_figure
from quasarloop.evaluate.network_figure import network_figure
from quasarloop.network.config import PRESETS, preset


def texts(axes):
    return [text.get_text() for text in axes.texts if text.get_text()]


def changed(axes):
    orange = mc.to_hex(COLOURS[1])
    return {t.get_text() for t in axes.texts if mc.to_hex(t.get_color()) == orange}


def test_sizes_and_settings_are_those_of_the_configuration():
    """Widths of both networks: paper, Fig. 1; docs/reference/network.md."""
    old, new, ours = network_figure(PRESETS).axes
    sizes = [text for text in texts(old) if text.endswith("×100")]
    assert sizes == [f"{width}\n×100" for width in (217, 104, 48, 20)]
    sizes = [text for text in texts(new) if text.endswith("×100")]
    assert sizes == [f"{width}\n×100" for width in (222, 111, 56, 28, 14, 7)]
    assert texts(old).count("no pad") == 4
    assert texts(new).count("pad 4+4") + texts(new).count("pad 4+5") == 6
    assert "7 × 13 boxes\n7 × 13 offsets" in texts(new)
    assert changed(old) == set()
    assert {"conv 5", "conv 6", "pad 4+5", "drop 0.2", "222\n×100"} <= changed(new)
    assert changed(new).isdisjoint({"conv 1", "dense", "100", "443"})
    assert "p(z): 904 redshifts," in changed(ours) - set(texts(new))


def test_blocks_do_not_overlap_and_nothing_is_cut_off(tmp_path):
    figure = network_figure({"small": preset("quasarloop2026", n_filters=16, n_conv=8)})
    save_figure(figure, tmp_path / "f.svg")
    (axes,) = figure.axes
    blocks = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert len(blocks) == 1 + 8 + 2
    boxes = [block.get_window_extent() for block in blocks]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    for text in axes.texts:
        box = text.get_window_extent()
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1, text.get_text()


@pytest.mark.parametrize("name", ["network.png", "network.pdf"])
def test_command_draws_a_file(tmp_path, name):
    from typer.testing import CliRunner

    from quasarloop.cli import app
    from quasarloop.network.weights import default_weights_path

    arguments = ["weights", "info", str(default_weights_path()), "--figure", str(tmp_path / name)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert (tmp_path / name).stat().st_size > 5000
