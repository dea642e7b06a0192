"""Every fault does what its name says, at its rate, and is written down."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from pydantic import BaseModel, ValidationError

from quasarloop.grid import LINEAR_GRID
from quasarloop.quality import prepare
from quasarloop.simulate.faults import Fault, FaultRates, Faults, draw_faults
from quasarloop.simulate.footprint import Tile
from quasarloop.simulate.instrument import desi_instrument
from quasarloop.simulate.observing import (
    LightSource,
    Observation,
    ObservingOptions,
    RedrockMistakes,
    observe_tile,
)
from quasarloop.spectra import Arm, Flag, Keys, Spectra, clean_pixels

NAMES = list(FaultRates.model_fields)
NONE = dict.fromkeys(NAMES, 0.0)


def observed(source: LightSource, n: int = 12, exposures: int = 1, **rates: float) -> Observation:
    """A tile with no fault but those given."""
    instrument = desi_instrument()
    observing = ObservingOptions(exposures=exposures, faults=FaultRates(**{**NONE, **rates}))
    light = source(0, 0, n, instrument.wave_aa)
    return observe_tile(Tile(0, n), light, 11, instrument, observing)


def as_spectra(seen: Observation) -> Spectra:
    """What a reader would give."""
    ids = seen.assignment.sites.target_id
    arms = tuple(
        Arm(model.name, model.wave_aa, seen.coadd[model.name].flux, seen.coadd[model.name].ivar)
        for model in desi_instrument().arms
    )
    n = len(ids)
    return Spectra(arms, Keys.make(ids), np.zeros(n, np.int32), "test", np.arange(n))


class TestDrawing:
    @given(st.dictionaries(st.sampled_from(NAMES), st.floats(0, 1)))
    @settings(max_examples=30)
    def test_each_fault_comes_at_its_rate(self, rates: dict[str, float]) -> None:
        n = 4000
        whole = FaultRates(**{**NONE, **rates})
        faults = draw_faults(np.random.default_rng(3), n, whole)
        sky = whole.sky_fibre
        for fault, name in zip(Fault, NAMES, strict=True):
            expected = getattr(whole, name)
            if name in ("very_high_sn", "blend"):
                expected *= 1 - sky  # a sky fibre has no object
            if name == "arm_step":
                expected *= 1 - whole.masked_arm
            spread = np.sqrt(expected * (1 - expected) / n)
            assert abs(faults.has(fault).mean() - expected) <= 5 * spread + 2 / n

    def test_sizes_are_there_only_where_the_fault_is(self) -> None:
        faults = draw_faults(np.random.default_rng(0), 500, FaultRates(**dict.fromkeys(NAMES, 0.5)))
        neutral = {
            Fault.CORRUPTED_THIRD: faults.corrupted_level == 0,
            Fault.COSMIC_RAYS: faults.cosmic_hits == 0,
            Fault.SKY_RESIDUALS: faults.sky_residual == 0,
            Fault.ARM_STEP: faults.step == 1,
            Fault.VERY_HIGH_SN: faults.boost == 1,
            Fault.BLEND: faults.blend_with == -1,
        }
        for fault, without in neutral.items():
            assert_array_equal(faults.has(fault), ~without)

    def test_same_generator_same_faults(self) -> None:
        rates = FaultRates()
        one = draw_faults(np.random.default_rng(8), 500, rates)
        two = draw_faults(np.random.default_rng(8), 500, rates)
        assert_array_equal(one.flags, two.flags)
        assert_array_equal(one.boost, two.boost)

    def test_impossible_rate(self) -> None:
        with pytest.raises(ValidationError):
            FaultRates(blend=1.5)


class TestEffects:
    def test_without_faults_nothing_is_flagged(self, known_light: LightSource) -> None:
        seen = observed(known_light)
        assert not seen.faults.flags.any()
        assert not prepare(as_spectra(seen), LINEAR_GRID).flags.any()

    def test_masked_arm(self, known_light: LightSource) -> None:
        seen = observed(known_light, masked_arm=1.0)
        bits = (Flag.ARM_B_MASKED, Flag.ARM_R_MASKED, Flag.ARM_Z_MASKED)
        expected = np.array(bits)[seen.faults.arm]
        assert_array_equal(prepare(as_spectra(seen), LINEAR_GRID).flags & sum(bits), expected)
        # desispec's fibermask: BADAMPB, R, Z are bits 22, 23, 24.
        assert_array_equal(seen.assignment.fiberstatus, 1 << (22 + seen.faults.arm.astype(int)))

    def test_corrupted_third_is_what_our_own_check_finds(self, known_light: LightSource) -> None:
        seen = observed(known_light, n=40, corrupted_third=1.0)
        flags = prepare(as_spectra(seen), LINEAR_GRID).flags
        assert np.mean((flags & Flag.CORRUPTED) > 0) > 0.9

    def test_very_high_sn(self, known_light: LightSource) -> None:
        plain, bright = observed(known_light), observed(known_light, very_high_sn=1.0)
        assert np.all(bright.faults.boost > 15)
        assert np.all(bright.sn > 2 * plain.sn)

    def test_sky_fibre_is_empty_and_unlabelled(self, known_light: LightSource) -> None:
        seen = observed(known_light, sky_fibre=1.0)
        assert seen.assignment.is_sky.all()
        assert np.all(seen.light.spectype == -1)
        assert np.isnan(seen.light.z).all()
        assert np.all(np.abs(seen.sn) < 0.3)

    def test_arm_step_scales_one_arm_and_keeps_its_sn(self, known_light: LightSource) -> None:
        plain, stepped = observed(known_light), observed(known_light, arm_step=1.0)
        for position, name in enumerate("brz"):
            hit = stepped.faults.arm == position
            factor = np.where(hit, stepped.faults.step, 1)[:, None]
            assert_allclose(stepped.coadd[name].flux, factor * plain.coadd[name].flux, rtol=2e-5)
            assert_allclose(stepped.coadd[name].ivar * factor**2, plain.coadd[name].ivar, rtol=2e-5)
        assert np.all(np.abs(stepped.faults.step - 1) >= 0.099)

    def test_blend_mixes_in_the_row_before(self, known_light: LightSource) -> None:
        instrument = desi_instrument()
        light = known_light(0, 0, 6, instrument.wave_aa)
        clean = light.flux.copy()
        observing = ObservingOptions(faults=FaultRates(**{**NONE, "blend": 1.0}))
        seen = observe_tile(Tile(0, 6), light, 1, instrument, observing)
        assert seen.faults.blend_with.tolist() == [-1, 0, 1, 2, 3, 4]
        assert_allclose(light.flux[0], clean[0])
        # All spectra have one shape here, so a blend of equal levels is the object itself.
        assert_allclose(light.flux[3], clean[3], rtol=1e-4)
        assert np.all((seen.faults.blend_share[1:] >= 0.2) & (seen.faults.blend_share[1:] <= 0.6))

    def test_sky_residuals_stand_on_sky_lines_only(self, known_light: LightSource) -> None:
        plain, dirty = observed(known_light), observed(known_light, sky_residuals=1.0)
        arm = desi_instrument().arms[2]
        left = np.abs(dirty.coadd["z"].flux - plain.coadd["z"].flux)
        bright = arm.sky > 20 * np.median(arm.sky)
        dark = arm.sky < 1.05 * np.median(arm.sky)
        assert left[:, bright].mean() > 30 * left[:, dark].mean()

    def test_cosmic_rays_hit_one_exposure_and_keep_the_ivar(self, known_light: LightSource) -> None:
        plain = observed(known_light, exposures=2)
        struck = observed(known_light, exposures=2, cosmic_rays=1.0)
        changed = np.zeros((2, 12), dtype=int)
        for number in range(2):
            for name in "brz":
                one, two = (seen.exposures[number].arms[name] for seen in (plain, struck))
                assert_array_equal(one.ivar, two.ivar)
                changed[number] += np.count_nonzero(one.flux != two.flux, axis=1)
        assert np.all(changed[0] > 0)
        assert np.all(changed[0] <= 2 * struck.faults.cosmic_hits)
        assert not changed[1].any()

    @given(
        rates=st.fixed_dictionaries({name: st.sampled_from([0.0, 0.3, 1.0]) for name in NAMES}),
        seed=st.integers(0, 2**32),
    )
    @settings(max_examples=15, deadline=None)
    def test_any_faults_leave_finite_flux_and_ivar_of_at_least_0(
        self, rates: dict[str, float], seed: int
    ) -> None:
        from quasarloop.simulate.observing import Light

        instrument = desi_instrument()
        rng = np.random.default_rng(seed)
        flux = rng.lognormal(0, 2, (5, 1)) * rng.random((5, len(instrument.wave_aa)))
        light = Light(
            flux.astype(np.float32), np.zeros(5, np.int8), np.zeros(5), np.zeros(5, np.int8), {}
        )
        observing = ObservingOptions(exposures=2, faults=FaultRates(**rates))
        seen = observe_tile(Tile(0, 5), light, seed, instrument, observing)
        for arms in (seen.coadd, *(exposure.arms for exposure in seen.exposures)):
            for arm in arms.values():
                _, _, flags = clean_pixels(arm.flux, arm.ivar)
                assert not flags.any()  # no NaN, no infinity, no negative ivar
        assert isinstance(seen.faults[:2], Faults)


@pytest.mark.parametrize("model", [FaultRates, RedrockMistakes])
def test_the_files_page_tells_the_default_rates(model: type[BaseModel]) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "reference" / "simulation_files.md"
    rows = [line.strip("| ").split(" | ") for line in page.read_text().splitlines()]
    told = {row[0].strip("`"): row[-1] for row in rows if row[0].startswith("`")}
    for name, rate in model().model_dump().items():
        assert float(told[name]) == rate, name
