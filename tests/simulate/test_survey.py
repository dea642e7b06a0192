"""Whole surveys: same bytes anywhere, resumed after a stop, truth for every row."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from quasarloop.engine import Engine
from quasarloop.errors import DataFormatError, OutputError, QuasarloopError
from quasarloop.read import find_files, read_spectra, read_truth
from quasarloop.simulate.faults import FaultRates
from quasarloop.simulate.model import ModelSky
from quasarloop.simulate.observing import LightSource, ObservingOptions
from quasarloop.simulate.population import Population, StarPopulation
from quasarloop.simulate.survey import SurveyOptions, read_survey_file, simulate_survey
from quasarloop.simulate.truth_tables import read_tile_truth


def digests(folder: Path, pattern: str = "*.fits") -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob(pattern))
    }


def planned(out: Path, source: LightSource, **changes: Any) -> SurveyOptions:
    options: dict[str, Any] = {"seed": 1, "source": source}
    return SurveyOptions(out, **(options | changes))


class TestBytes:
    def test_same_seed_same_bytes_on_one_worker_or_two(
        self, tmp_path: Path, two_workers: Engine
    ) -> None:
        # Without stars, whose library takes a second to build in every process.
        sky = ModelSky(Population(stars=StarPopulation(weight=0)))
        made = []
        for engine in (Engine(), two_workers):
            plan = planned(tmp_path / str(engine.workers), sky)
            report = simulate_survey(plan, 501, engine=engine)
            assert (report.n_tiles, report.n_truth) == (2, 501)
            made.append(digests(plan.out))
        assert len(made[0]) == 2 * 3 + 1
        assert made[0] == made[1]
        texts = [digests(tmp_path / workers, "*.csv") for workers in "12"]
        assert texts[0] == texts[1]

    def test_other_seed_other_sky(self, tmp_path: Path, known_light: LightSource) -> None:
        for seed in (1, 2):
            simulate_survey(planned(tmp_path / str(seed), known_light, seed=seed), 3)
        assert not set(digests(tmp_path / "1").values()) & set(digests(tmp_path / "2").values())

    def test_objects_do_not_depend_on_how_many_follow(
        self, tmp_path: Path, known_light: LightSource
    ) -> None:
        every = FaultRates(**dict.fromkeys(FaultRates.model_fields, 0.4))
        seen, truth = [], []
        for n in (7, 40):
            plan = planned(
                tmp_path / str(n),
                known_light,
                observing=ObservingOptions(exposures=2, faults=every),
            )
            simulate_survey(plan, n)
            seen.append(read_spectra(next(plan.out.rglob("coadd-*.fits"))))
            truth.append(read_tile_truth(next(plan.out.rglob("truth-*.fits"))))
        for few, many in zip(seen[0].arms, seen[1].arms, strict=True):
            assert_array_equal(few.flux, many.flux[:7])
            assert_array_equal(few.ivar, many.ivar[:7])
        for column in ("TARGETID", "FAULTS", "REDROCK_WRONG", "FLUX_R", "TARGET_RA"):
            assert_array_equal(truth[0][column], truth[1][column][:7])

    def test_real_noise_keeps_all_this(
        self, tmp_path: Path, known_light: LightSource, shared_data: Path
    ) -> None:
        coadd = shared_data / "desi_healpix9144" / "coadd-main-dark-9144.fits"
        plan = planned(tmp_path, known_light, noise_from=coadd)
        simulate_survey(plan, 20)
        real = read_spectra(coadd)
        ours = read_spectra(next(tmp_path.rglob("coadd-*.fits")))
        for mine, theirs in zip(ours.arms, real.arms, strict=True):
            # Pixels that the real fibres lost are lost here too.
            lost = ~(theirs.ivar > 0)
            for row in mine.ivar:
                assert any(np.all(row[one] == 0) for one in lost)
            level = np.median(mine.ivar, axis=1) / np.median(theirs.ivar)
            assert np.all((level > 0.2) & (level < 3))


class TestResuming:
    def test_complete_tiles_are_kept_and_missing_ones_made(
        self, tmp_path: Path, known_light: LightSource
    ) -> None:
        whole = planned(tmp_path / "whole", known_light)
        simulate_survey(whole, 1100)
        part = planned(tmp_path / "part", known_light)
        simulate_survey(part, 1000)
        lost = next(part.out.rglob("truth-1-*.fits"))  # a kill before the last file of a tile
        lost.unlink()
        kept = next(part.out.rglob("coadd-0-*.fits"))
        before = kept.stat().st_mtime_ns
        done: list[int] = []
        report = simulate_survey(part, 1100, on_tile=lambda tile: done.append(tile.index))
        assert report.n_kept == 1
        assert sorted(done) == [0, 1, 2]
        assert kept.stat().st_mtime_ns == before
        assert digests(part.out) == digests(whole.out)
        # Nothing is missing now: no file is written again.
        times = {path: path.stat().st_mtime_ns for path in part.out.rglob("*.*")}
        assert simulate_survey(part, 1100) == replace(report, n_kept=report.n_tiles)
        assert {path: path.stat().st_mtime_ns for path in part.out.rglob("*.*")} == times

    def test_another_simulation_is_not_overwritten(
        self, tmp_path: Path, known_light: LightSource
    ) -> None:
        simulate_survey(planned(tmp_path, known_light), 2)
        with pytest.raises(OutputError, match="seed differ"):
            simulate_survey(planned(tmp_path, known_light, seed=2), 2)
        with pytest.raises(OutputError, match="observing"):
            simulate_survey(planned(tmp_path, known_light, observing=ObservingOptions(depth=2)), 2)

    def test_no_temporary_file_is_left(self, tmp_path: Path, known_light: LightSource) -> None:
        simulate_survey(planned(tmp_path, known_light), 2)
        assert not list(tmp_path.rglob(".*"))

    @pytest.mark.parametrize("n", [0, -1])
    def test_no_objects(self, tmp_path: Path, known_light: LightSource, n: int) -> None:
        with pytest.raises(QuasarloopError, match="give 1 to"):
            simulate_survey(planned(tmp_path, known_light), n)


SHARES = st.floats(0, 1)


@st.composite
def survey_files(draw: st.DrawFn) -> str:
    """Any population file, from empty to extreme."""
    weights = [draw(st.floats(0.0, 5.0)) for _ in range(3)]
    weights[draw(st.integers(0, 2))] += 0.1
    low = draw(st.floats(12.0, 24.0))
    lines = [
        "[observing]",
        f"depth = {draw(st.floats(0.05, 20.0))}",
        f"exposures = {draw(st.integers(1, 3))}",
        "[faults]",
        *(f"{name} = {draw(SHARES)}" for name in FaultRates.model_fields),
        "[redrock]",
        f"qso_as_galaxy = {draw(SHARES)}",
        "[quasars]",
        f"weight = {weights[0]}",
        f"bal_fraction = {draw(SHARES)}",
        f"dla_rate = {draw(st.floats(0.0, 20.0))}",
        "[quasars.redshift]",
        f"knots = [{draw(st.floats(0.0, 3.0))}, {draw(st.floats(3.1, 7.0))}]",
        "[quasars.r_mag]",
        f"knots = [{low}, {low + draw(st.floats(0.1, 1.9))}]",
        "[galaxies]",
        f"weight = {weights[1]}",
        "[stars]",
        f"weight = {weights[2]}",
    ]
    return "\n".join(lines)


class TestAnyPopulation:
    @given(text=survey_files(), seed=st.integers(0, 2**40))
    @settings(
        max_examples=8,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    def test_finite_flux_ivar_of_at_least_0_truth_for_every_row(
        self, tmp_path_factory: pytest.TempPathFactory, text: str, seed: int
    ) -> None:
        folder = tmp_path_factory.mktemp("any")
        (folder / "sky.toml").write_text(text)
        population, observing = read_survey_file(folder / "sky.toml")
        sky = ModelSky(population)
        plan = planned(folder / "out", sky, seed=seed, observing=observing)
        report = simulate_survey(plan, 9)
        truth = read_truth(plan.out / "truth.csv")
        assert report.n_truth == len(truth) == 9
        for path in find_files([plan.out / "tiles"]):
            spectra = read_spectra(path)
            rows = 9 * (observing.exposures if path.name.startswith("spectra") else 1)
            assert len(spectra) == rows
            assert set(spectra.keys.target_id.tolist()) == set(truth.target_id.tolist())
            for letter, arm in zip("BRZ", spectra.arms, strict=True):
                raw = raw_arm(path, letter)
                assert np.isfinite(raw[0]).all()
                assert np.isfinite(raw[1]).all()
                assert np.all(raw[1] >= 0)
                assert_array_equal(arm.flux, raw[0])


def raw_arm(path: Path, letter: str) -> tuple[np.ndarray, np.ndarray]:
    """The file's own numbers, before our reader cleans them."""
    import fitsio

    with fitsio.FITS(path) as fits:
        return fits[f"{letter}_FLUX"].read(), fits[f"{letter}_IVAR"].read()


class TestSurveyFile:
    def write(self, tmp_path: Path, text: str) -> Path:
        path = tmp_path / "sky.toml"
        path.write_text(text)
        return path

    def test_what_is_left_out_keeps_its_default(self, tmp_path: Path) -> None:
        population, observing = read_survey_file(
            self.write(tmp_path, "[faults]\nblend = 0.25\n[quasars]\nweight = 2.0\n")
        )
        assert observing.faults.blend == 0.25
        assert observing.faults.sky_fibre == FaultRates().sky_fibre
        assert population.quasars.weight == 2.0
        assert population.galaxies == Population().galaxies

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            ("[faults]\nblends = 0.1\n", "blends"),
            ("[faults]\nblend = 1.1\n", "blend"),
            ("[observing]\ndepth = 0\n", "depth"),
            ("[qsos]\nweight = 1\n", "qsos"),
            ("faults = 3\n", "faults"),
            ("observing = 3\n", "tables"),
            ("= 3", "cannot be read"),
        ],
    )
    def test_mistakes_are_named(self, tmp_path: Path, text: str, named: str) -> None:
        with pytest.raises(DataFormatError, match=named):
            read_survey_file(self.write(tmp_path, text))

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(DataFormatError, match=r"none\.toml"):
            read_survey_file(tmp_path / "none.toml")
