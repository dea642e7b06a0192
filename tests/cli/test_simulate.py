"""``quasarloop simulate`` as a user types it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from quasarloop.cli import app
from quasarloop.errors import DataFormatError, OutputError
from quasarloop.read import find_files, read_spectra, read_truth


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["simulate", *map(str, arguments)])


@pytest.fixture
def light_sky(tmp_path: Path) -> Path:
    """A population without stars, whose library takes longest to build."""
    path = tmp_path / "sky.toml"
    path.write_text("[stars]\nweight = 0\n[observing]\nexposures = 2\n")
    return path


def test_help_shows_an_example() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert "quasarloop simulate --out" in " ".join(result.output.split())


def test_desi(tmp_path: Path, light_sky: Path) -> None:
    out = tmp_path / "desi"
    result = run("--out", out, "--objects", 4, "--seed", 5, "--population", light_sky)
    assert result.exit_code == 0, result.output
    assert "4 objects in 1 tiles" in result.output
    assert len(read_truth(out / "truth.csv")) == 4
    names = sorted(path.name.split("-")[0] for path in find_files([out]))
    assert names == ["coadd", "spectra"]  # the population file says two exposures
    again = run("--out", out, "--objects", 4, "--seed", 5, "--population", light_sky)
    assert "1 were there" in again.output
    other = run("--out", out, "--objects", 4, "--seed", 6, "--population", light_sky)
    assert isinstance(other.exception, OutputError)


def test_sdss_with_exposures_of_the_command_line(tmp_path: Path, light_sky: Path) -> None:
    out = tmp_path / "sdss"
    result = run(
        *("--out", out, "--objects", 2, "--format", "sdss", "--exposures", 1),
        *("--population", light_sky),
    )
    assert result.exit_code == 0, result.output
    files = find_files([out])
    assert [len(read_spectra(path)) for path in files] == [1, 1]


def test_noise_of_a_real_coadd(tmp_path: Path, light_sky: Path, shared_data: Path) -> None:
    coadd = shared_data / "quasarnp_fixture" / "test_coadd.fits"
    result = run(
        *("--out", tmp_path / "real", "--objects", 3, "--noise-from", coadd),
        *("--population", light_sky),
    )
    assert result.exit_code == 0, result.output
    wrong = run("--out", tmp_path / "x", "--noise-from", coadd, "--format", "sdss")
    assert isinstance(wrong.exception, DataFormatError)


def test_templates_of_redrock(tmp_path: Path, light_sky: Path, shared_data: Path) -> None:
    out = tmp_path / "templates"
    templates = shared_data / "templates" / "redrock"
    result = run(
        *("--out", out, "--objects", 6, "--templates", templates, "--population", light_sky)
    )
    assert result.exit_code == 0, result.output
    assert len(read_spectra(next(out.rglob("coadd-*.fits")))) == 6


@pytest.mark.parametrize("arguments", [["--objects", "0"], ["--exposures", "0"], []])
def test_impossible_requests(tmp_path: Path, arguments: list[str]) -> None:
    out = ["--out", str(tmp_path)] if arguments else []
    assert run(*out, *arguments).exit_code == 2


def test_population_file_with_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "sky.toml"
    path.write_text("[faults]\nblends = 0.5\n")
    result = run("--out", tmp_path / "out", "--population", path)
    assert isinstance(result.exception, DataFormatError)
    assert "blends" in str(result.exception)
