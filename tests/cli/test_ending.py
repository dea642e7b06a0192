"""Whatever ends a command becomes one line and an exit status, never a traceback."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import typer

from quasarloop import cli
from quasarloop.errors import CampaignError


def ended_by(exc, monkeypatch, capsys):
    """Exit status and stderr of a command that raises."""
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def command() -> None:
        raise exc

    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(sys, "argv", ["quasarloop"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code, capsys.readouterr().err


def caused(exc, cause):
    exc.__cause__ = cause
    return exc


LINES = [
    (CampaignError("name it under [data]"), 1, "error: name it under [data]"),
    (KeyboardInterrupt(), 130, "stopped by Ctrl+C"),
    (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, "closed it"),
    (OSError(errno.ENOSPC, "No space left on device", "a[b].fits"), 1, "the disk is full"),
    (pl.exceptions.ComputeError("No space left on device (os error 28)"), 1, "the disk is full"),
    (caused(RuntimeError("x"), OSError(errno.ENOSPC, "full")), 1, "the disk is full"),
    (MemoryError("8 GB"), 1, "not enough memory (MemoryError: 8 GB)"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 1, "not enough memory"),
    (PermissionError(errno.EACCES, "Permission denied", "x[1].h5"), 1, "x[1].h5: no permission"),
    (FileNotFoundError(errno.ENOENT, "No such file", "gone.fits"), 1, "gone.fits: No such file"),
    (typer.Exit(3), 3, ""),
    (typer.BadParameter("not [so]"), 2, "not [so]"),
]


@pytest.mark.parametrize(("exc", "status", "line"), LINES, ids=lambda x: type(x).__name__)
def test_each_kind_of_end_has_a_line_of_its_own(exc, status, line, monkeypatch, capsys):
    code, err = ended_by(exc, monkeypatch, capsys)
    assert code == status
    assert line in err
    assert "Traceback" not in err
    assert "quasarloop-report" not in err


@pytest.mark.parametrize("exc", [ZeroDivisionError("a\nb"), pl.exceptions.PanicException("p")])
def test_an_unexpected_error_leaves_a_report(exc, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, err = ended_by(exc, monkeypatch, capsys)
    assert code == 1
    assert err.count("\n") == 1
    assert f"unexpected {type(exc).__name__}: {' '.join(str(exc).split())}; " in err
    (report,) = tmp_path.iterdir()
    assert str(report) in err
    assert "Traceback" in report.read_text()


def test_a_report_has_no_password_and_may_be_impossible(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["q", "--db", "postgresql://me:pw@h/n"])
    from quasarloop.cli.ending import guard

    with pytest.raises(SystemExit), guard():
        raise ZeroDivisionError
    assert ":pw" not in next(tmp_path.iterdir()).read_text()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    with pytest.raises(SystemExit), guard():
        raise ZeroDivisionError
    assert "report could not be written" in capsys.readouterr().err


def run(words, **more):
    return subprocess.run(
        [sys.executable, "-m", "quasarloop", *words],
        stderr=subprocess.PIPE, text=True, check=False, **more,
    )  # fmt: skip


def test_a_closed_pipe_and_a_full_disk_under_stdout():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        done = run(["--version"], stdout=closed)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "closed it" in done.stderr
    if not Path("/dev/full").exists():
        pytest.skip("the rest needs /dev/full")
    with open("/dev/full", "w") as full:  # noqa: PTH123 -- a device
        done = run(["--version"], stdout=full)
    assert done.returncode == 1
    assert re.fullmatch(r"error: the disk is full .*\n", done.stderr)
