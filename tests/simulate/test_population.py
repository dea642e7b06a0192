from pathlib import Path

import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quasarloop.errors import DataFormatError
from quasarloop.simulate.draw import BLOCK_OBJECTS, draw_objects, quasars_at
from quasarloop.simulate.model import observed_flux
from quasarloop.simulate.objects import GALAXY_KINDS, STAR_KINDS, Objects
from quasarloop.simulate.population import (
    Distribution,
    Population,
    QuasarPopulation,
    distance_modulus,
)
from quasarloop.simulate.survey import read_survey_file
from quasarloop.truth import SpecType

SEED = np.random.SeedSequence(20250101)


@pytest.fixture(scope="module")
def many() -> Objects:
    return draw_objects(Population(), 8192, SEED)


def test_classes_come_in_their_shares(many: Objects) -> None:
    shares = [np.mean(many.spectype == t) for t in (SpecType.QSO, SpecType.GALAXY, SpecType.STAR)]
    assert shares == pytest.approx([0.60, 0.13, 0.27], abs=0.02)
    stars = set(many.subtype[many.spectype == SpecType.STAR])
    assert stars == {kind.name for kind in STAR_KINDS}
    assert set(many.subtype[many.spectype == SpecType.GALAXY]) == set(GALAXY_KINDS)


def test_quasars_follow_their_redshifts_and_rates(many: Objects) -> None:
    quasars = many[many.spectype == SpecType.QSO]
    expected = Population().quasars.redshift.share_below([1.0, 2.1, 3.0])
    found = [np.mean(quasars.z < z) for z in (1.0, 2.1, 3.0)]
    assert found == pytest.approx(expected, abs=0.025)
    assert np.mean(quasars.quasar.bal.is_bal) == pytest.approx(0.13, abs=0.015)
    assert np.mean(quasars.quasar.weak_line) == pytest.approx(0.02, abs=0.008)
    # 2.5 % of quasars without troughs have E(B-V) > 0.1 (Krawczyk et al. 2015).
    plain = quasars.ebv[~quasars.quasar.bal.is_bal]
    assert np.mean(plain > 0.1) == pytest.approx(0.025, abs=0.01)
    absolute = quasars.r_mag - distance_modulus(quasars.z)
    assert absolute.max() <= -20.5 + 1e-3
    assert quasars.r_mag.max() <= 23.0


def test_galaxies_are_not_brighter_than_galaxies_are(many: Objects) -> None:
    galaxies = many[many.spectype == SpecType.GALAXY]
    absolute = galaxies.r_mag - distance_modulus(galaxies.z)
    assert absolute.min() >= -24.5 - 1e-3
    assert absolute.max() > -18
    assert galaxies.z.min() > 0


def test_traits_of_other_classes_are_empty(many: Objects) -> None:
    quasar = many.spectype == SpecType.QSO
    assert np.isfinite(many.quasar.slope[quasar]).all()
    assert np.isnan(many.quasar.slope[~quasar]).all()
    assert not many.quasar.bal.is_bal[~quasar].any()
    assert np.isnan(many.star.metals[many.spectype != SpecType.STAR]).all()
    assert np.isnan(many.galaxy.light[quasar]).all()


def test_an_object_depends_on_seed_and_number_alone() -> None:
    population = Population()
    whole = draw_objects(population, 700, SEED)
    for first, n in ((0, 5), (250, 20), (BLOCK_OBJECTS, 10), (690, 10)):
        part = draw_objects(population, n, SEED, first_index=first)
        expected = whole[first : first + n].columns()
        for name, values in part.columns().items():
            assert np.array_equal(values, expected[name], equal_nan=values.dtype.kind == "f"), name
    other = draw_objects(population, 700, np.random.SeedSequence(1))
    assert not np.array_equal(other.z, whole.z)
    assert len(np.unique(whole.seed)) == 700


def test_spawned_seeds_give_other_skies() -> None:
    first, second = np.random.SeedSequence(3).spawn(2)
    population = Population()
    assert not np.array_equal(
        draw_objects(population, 64, first).z, draw_objects(population, 64, second).z
    )


def test_columns_are_one_per_property(many: Objects) -> None:
    columns = many[:10].columns()
    assert all(values.shape == (10,) for values in columns.values())
    for name in (
        "z",
        "quasar_bal_bi_civ_kms",
        "quasar_line_ew_aa_civ",
        "absorbers_dla_log_nhi_0",
        "galaxy_light_old",
        "galaxy_line_ratio_oiii5008",
        "star_temperature_k",
    ):
        assert name in columns


def test_quasars_at_given_places() -> None:
    z = np.array([0.4, 2.5, 3.9])
    objects = quasars_at(QuasarPopulation(), z, [18.0, 20.0, 22.0], np.random.default_rng(1))
    assert objects.z.tolist() == z.tolist()
    assert objects.r_mag.tolist() == [18.0, 20.0, 22.0]
    assert (objects.spectype == SpecType.QSO).all()
    assert np.isfinite(observed_flux(objects, np.linspace(3600, 9800, 500))).all()


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_population_file_changes_what_it_names(tmp_path: Path) -> None:
    path = write(
        tmp_path / "flat.toml",
        """
        [quasars]
        weight = 1.0
        redshift = { knots = [0.3, 4.5] }
        bal_fraction = 0.5
        [galaxies]
        weight = 0
        [stars]
        weight = 1.0
        kinds = { M = 1.0 }
        """,
    )
    population, _ = read_survey_file(path)
    assert population.quasars.lobal_share == Population().quasars.lobal_share
    objects = draw_objects(population, 4096, SEED)
    assert set(objects.subtype[objects.spectype == SpecType.STAR]) == {"M"}
    assert not np.any(objects.spectype == SpecType.GALAXY)
    z = objects.z[objects.spectype == SpecType.QSO]
    assert np.histogram(z, bins=4, range=(0.3, 4.5))[0] / len(z) == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[quasars]\nwieght = 1", "quasars.wieght"),
        ("[quasars]\nbal_fraction = 1.5", "bal_fraction"),
        ("[quasars]\nredshift = {knots = [2, 1]}", "increase"),
        ("[quasars]\nredshift = {knots = [1, 2], density = [1]}", "1 densities for 2"),
        ("[quasars]\nredshift = {knots = [1, 2], density = [0, 0]}", "0 everywhere"),
        ("[quasars]\nredshift = {knots = [1, 9]}", "between 0 and 7"),
        ("[stars]\nr_mag = {knots = [1, 9]}", "between 10.0 and 26.0"),
        ("[stars]\nkinds = {X = 1}", "unknown kinds"),
        ("[stars]\nkinds = {}", "all kinds of stars are 0"),
        ("[quasars]\nweight=0\n[galaxies]\nweight=0\n[stars]\nweight=0", "all 0"),
        ("[quasars]\nweight = nan", "weight"),
        ("not toml", "cannot be read"),
    ],
)
def test_a_bad_population_file_is_named_with_its_fault(
    tmp_path: Path, text: str, says: str
) -> None:
    path = write(tmp_path / "bad.toml", text)
    with pytest.raises(DataFormatError, match=says) as caught:
        read_survey_file(path)
    assert "bad.toml" in str(caught.value)
    assert caught.value.__cause__ is not None


def test_a_missing_population_file_is_a_data_format_error(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match=r"none\.toml"):
        read_survey_file(tmp_path / "none.toml")


rising = st.lists(st.floats(0.02, 6.9), min_size=2, max_size=5, unique=True).map(sorted)
share = st.floats(0, 1)


def distributions(low: float, high: float) -> st.SearchStrategy[Distribution]:
    scaled = rising.filter(lambda k: min(np.diff(k)) > 1e-3).map(
        lambda knots: tuple(low + (high - low) * k / 7 for k in knots)
    )
    return scaled.flatmap(
        lambda knots: (
            st.lists(st.floats(0.0, 10.0), min_size=len(knots), max_size=len(knots))
            .filter(lambda d: max(d) > 0.1)
            .map(lambda d: Distribution(knots=knots, density=tuple(d)))
        )
    )


@given(distributions(0, 7), st.lists(share, min_size=1, max_size=20))
@example(Distribution(knots=(1.0, 1.5, 2.0), density=(1e-310, 1e-310, 1.0)), [1e-312])
def test_quantiles_are_within_the_knots_and_undo_shares(
    distribution: Distribution, u: list[float]
) -> None:
    values = distribution.quantile(u)
    assert np.all((values >= distribution.knots[0]) & (values <= distribution.knots[-1]))
    assert distribution.share_below(values) == pytest.approx(u, abs=1e-6)


@st.composite
def populations(draw: st.DrawFn) -> Population:
    default = Population()
    quasars = QuasarPopulation(
        weight=1.0,
        redshift=draw(distributions(0.01, 7.0)),
        r_mag=draw(distributions(10.0, 26.0)),
        faintest_absolute_mag=draw(st.floats(-30, 0)),
        slope_mean=draw(st.floats(-3, 2)),
        slope_scatter=draw(st.floats(0, 2)),
        ebv_mean=draw(share),
        bal_fraction=draw(share),
        lobal_share=draw(share),
        weak_line_fraction=draw(share),
        double_peaked_fraction=draw(share),
        dla_rate=draw(st.floats(0, 20)),
        lls_rate=draw(st.floats(0, 20)),
        metal_rate=draw(st.floats(0, 20)),
    )
    return default.model_copy(update={"quasars": quasars})


@settings(max_examples=25, deadline=None)
@given(populations(), st.integers(0, 2**32))
def test_any_population_gives_finite_light_and_truth_for_every_row(
    population: Population, seed: int
) -> None:
    objects = draw_objects(population, 40, np.random.SeedSequence(seed))
    flux = observed_flux(objects, np.geomspace(3500.0, 10_000.0, 300))
    assert flux.shape == (40, 300)
    assert flux.dtype == np.float32
    assert np.isfinite(flux).all()
    assert (flux >= 0).all()
    assert np.isfinite(objects.z).all()
    assert np.isfinite(objects.r_mag).all()
    assert np.isin(objects.spectype, [0, 1, 2]).all()
    assert all(len(values) == 40 for values in objects.columns().values())


def test_distances_agree_with_astropy() -> None:
    z = np.array([0.01, 0.1, 0.5, 1.0, 2.0, 3.5, 6.0])
    expected = FlatLambdaCDM(H0=70.0, Om0=0.3).distmod(z).value
    assert distance_modulus(z) == pytest.approx(expected, abs=2e-3)
    assert np.isnan(distance_modulus(0.0))
