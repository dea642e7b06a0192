"""Each command's --help has an example; all are parsed, and run in one folder where they can be."""

import re
import shlex
import shutil

import pytest
import typer
from typer.testing import CliRunner

from quasarloop.cli import app
from quasarloop.errors import InspectionError
from quasarloop.network.weights import default_weights_path

_AS_DESISPEC = {"desi_qso_qn_afterburner", "desi_qso_mgii_afterburner"}  # desispec's own help
# Numbers that would cost minutes, and what the run takes instead.
_SMALLER = {
    "--objects 5000": "--objects 600",
    "--workers 2": "--workers 1",
    "--workers 8": "--workers 1",
    "--heads 200": "--heads 10",
    "--networks 200": "--networks 2 --epochs 1 --preset busca2018 --filters 8",
    "--out W.h5": "--out W.h5 --epochs 1",
    "--out N.h5": "--out N.h5 --epochs 1",
    "--n 1000 --outliers 100": "--n 20 --outliers 2",
}
# Examples that this file parses but does not run, and why.
_ELSEWHERE = {
    "demo": "minutes; tests/campaign run it",
    "fetch": "the network; tests/test_fetch.py",
    "inspect": "people; tests/inspect/test_commands.py",
    "labels": "labels of people; tests/inspect/test_commands.py",
    "campaign close": "labels of people; tests/campaign/test_run.py",
    "campaign next": "a closed round; tests/campaign/test_run.py",
    "campaign run": "its files; tests/campaign/test_run.py",
    "campaign withdraw": "a label of it; tests/campaign/test_ledger.py",
    "campaign verify": "a history; tests/campaign/test_ledger.py",
    "afterburner": "redrock's files; tests/afterburner/test_tile.py",
    "qsocat desi": "redrock's files; tests/afterburner/test_qsocat_cli.py",
    "qsocat mgii": "redrock's files; tests/afterburner/test_qsocat_cli.py",
}
_ORDER = (
    *("simulate", "ingest", "classify", "evaluate", "evaluate oscillation"),
    *("train", "ensemble train", "ensemble vote", "ensemble info"),
    *("som fit", "som assign", "som plot", "select", "qsocat network"),
    *("weights info", "weights convert", "weights adapt", "weights calibrate"),
    *("evaluate compare", "evaluate repeats", "campaign init", "campaign status"),
)


def _commands(command, path=()):
    if "callback" in dir(command) and (command.callback or not hasattr(command, "commands")):
        yield " ".join(path), command
    for name, below in getattr(command, "commands", {}).items():
        yield from _commands(below, (*path, name))


def _examples():
    for path, command in _commands(typer.main.get_command(app)):
        texts = re.findall(r"\[bold\](quasarloop .*?)\[/\]", command.help or "", re.S)
        yield path, command, [" ".join(text.split()) for text in texts]


_ALL = {path: (command, texts) for path, command, texts in _examples() if path}


def _elsewhere(path):
    return next((why for name, why in _ELSEWHERE.items() if f"{path} ".startswith(f"{name} ")), "")


@pytest.mark.parametrize("path", sorted(set(_ALL) - _AS_DESISPEC))
def test_every_command_has_an_example_that_is_parsed(path):
    command, texts = _ALL[path]
    groups = hasattr(command, "commands")
    assert texts or (groups and path != "evaluate"), f"{path} --help has no example"
    for text in texts:
        words = shlex.split(text)
        own = [*path.split()]
        assert words[: len(own) + 1] == ["quasarloop", *own]
        command.make_context(own[-1], words[len(own) + 1 :])  # a wrong option ends here


def test_every_example_runs_here_or_elsewhere():
    have = {path for path, (_, texts) in _ALL.items() if texts}
    assert {path for path in have if not _elsewhere(path)} == set(_ORDER)


def test_a_short_option_prints_the_help_of_every_command():
    for path in sorted(set(_ALL) - _AS_DESISPEC):
        result = CliRunner().invoke(app, [*path.split(), "-h"])
        assert result.exit_code == 0
        assert "Usage:" in result.output


@pytest.mark.parametrize("words", [["inspect", "serve"], ["labels", "status"]])
def test_help_needs_no_extra_where_the_command_does(words, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, InspectionError)
    assert "quasarloop[inspect]" in str(result.exception)
    for helped in (words, words[:1]):
        assert CliRunner().invoke(app, [*helped, "--help"]).exit_code == 0


def _words(text, folder):
    for large, small in _SMALLER.items():
        text = text.replace(large, small)
    found = []
    for word in shlex.split(text)[1:]:
        files = sorted(path.name for path in folder.glob(word)) if "*" in word else [word]
        assert files, f"{word}: no such file"
        found += files
    return found


def _run(text, folder):
    result = CliRunner().invoke(app, _words(text, folder))
    assert result.exit_code == 0, f"{text}\n{result.output}\n{result.exception}"


def _prepare(path, folder):
    """Make what an example takes and no example before it has made."""
    if path == "ingest":
        for file in (folder / "simulated").rglob("coadd-*.fits"):
            shutil.copy(file, folder)
        shutil.copy(folder / "simulated/truth.csv", folder)
        shutil.copy(default_weights_path(), folder / "old.h5")
    elif path == "som assign":
        shutil.copytree(folder / "sky", folder / "newsky")
    elif path == "qsocat network":
        _run("quasarloop simulate --out plates --objects 20 --format sdss", folder)
        for file in (folder / "plates").rglob("spec-*.fits"):
            shutil.copy(file, folder)
    elif path == "evaluate repeats":  # of exposures, not of coadds
        _run("quasarloop simulate --out visits --objects 40 --exposures 3", folder)
        _run("quasarloop classify visits --out quasars.fits --overwrite", folder)
        shutil.copy(folder / "quasars.fits", folder / "old.fits")


@pytest.mark.slow
def test_examples_run_in_one_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in _ORDER:
        _prepare(path, tmp_path)
        for text in _ALL[path][1]:
            _run(text, tmp_path)
