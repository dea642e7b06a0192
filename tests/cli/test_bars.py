"""Progress bars are legible in 80 columns."""

import io

import pytest
from rich.console import Console

from quasarloop.cli import common

_NOTE = "loss 0.123, validation 0.234, completeness 0.987, purity 0.991 [of 1]"


@pytest.mark.parametrize("total", [1_200_000, None])
def test_bar_and_note_are_whole_in_80_columns(monkeypatch, total):
    out = io.StringIO()
    narrow = Console(
        file=out, width=80, force_terminal=True, color_system=None, markup=False, highlight=False
    )
    monkeypatch.setattr(common, "console", narrow)
    with common.progress_bar() as progress:
        task = progress.add_task("simulate the sky", total=total, note="")
        progress.update(task, completed=345_000, note=_NOTE)
        progress.refresh()
    last = out.getvalue().split("simulate the sky")[-1]
    assert f"345000/{total or '?'}" in last
    assert last.splitlines()[0].count("━") >= (5 if total else 0)
    assert "0:00:0" in last
    assert _NOTE in last
    assert "…" not in out.getvalue()
