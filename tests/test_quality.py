"""Flags: planted faults are found, odd but sound spectra are not."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasarloop.grid import LINEAR_GRID, LOG_GRID
from quasarloop.quality import (
    CORRUPT_JUMP,
    NOT_TRAINED,
    REFUSED,
    UNUSABLE,
    arm_sn,
    corrupted,
    count_flags,
    flag_names,
    prepare,
)
from quasarloop.read import find_files, read_spectra
from quasarloop.spectra import Arm, Flag, Keys, Spectra, clean_pixels, duplicate_keys

WAVES = {
    "b": np.arange(3600.0, 5800.8, 0.8),
    "r": np.arange(5760.0, 7620.8, 0.8),
    "z": np.arange(7520.0, 9824.8, 0.8),
}


def observe(light, sn=5.0, seed=0, n=1):
    """DESI-like spectra of a light curve f(λ): noise of one size, S/N ``sn`` where f = 1."""
    rng = np.random.default_rng(seed)
    arms = []
    for name, wave in WAVES.items():
        noise = rng.normal(0, 1 / sn, (n, len(wave)))
        flux = (light(wave)[None, :] + noise).astype("f4")
        arms.append(Arm(name, wave, flux, np.full(flux.shape, sn**2, "f4")))
    return Spectra(
        tuple(arms), Keys.make(np.arange(1, n + 1)), np.zeros(n, "i4"), "made.fits", np.arange(n)
    )


def flags_of(spectra, grid=LOG_GRID):
    return prepare(spectra, grid).flags.tolist()


class TestCleaning:
    def test_sound_pixels_are_copied_and_made_native(self):
        flux = np.array([[1.0, 2.0]], dtype=">f8")
        ivar = np.array([[0.0, 3.0]], dtype=">f4")
        clean_flux, clean_ivar, flags = clean_pixels(flux, ivar)
        assert clean_flux.dtype == clean_ivar.dtype == np.dtype("=f4")
        assert clean_flux.tolist() == [[1, 2]]
        assert clean_ivar.tolist() == [[0, 3]]
        assert flags.tolist() == [0]

    def test_every_fault_in_its_own_row(self):
        flux = np.array([[1, 2], [np.nan, 2], [1, np.inf], [1, 2], [1, 2], [np.nan, 2]], "f4")
        ivar = np.array([[1, 1], [1, 1], [1, 1], [-1, 1], [1, -np.inf], [1, -3]], "f4")
        clean_flux, clean_ivar, flags = clean_pixels(flux, ivar)
        nan, negative = Flag.NAN_FLUX, Flag.NEGATIVE_IVAR
        assert flags.tolist() == [0, nan, nan, negative, nan, nan | negative]
        assert clean_flux.tolist() == [[1, 2], [0, 2], [1, 0], [1, 2], [1, 0], [0, 2]]
        assert clean_ivar.tolist() == [[1, 1], [0, 1], [1, 0], [0, 1], [1, 0], [0, 0]]
        assert np.isnan(flux[1, 0])  # the input is left alone

    def test_no_rows(self):
        assert clean_pixels(np.empty((0, 5)), np.empty((0, 5)))[2].shape == (0,)


class TestPrepare:
    def test_a_sound_spectrum_has_no_flag(self):
        spectra = observe(lambda wave: wave / 6000)
        rebinned = prepare(spectra, LOG_GRID)
        assert rebinned.flags.tolist() == [0]
        assert rebinned.flux.shape == rebinned.ivar.shape == (1, 443)
        assert rebinned.source.tolist() == ["made.fits"]
        assert rebinned.mean_flux[0] == pytest.approx(6712 / 6000, abs=0.01)
        # Noise of 1/5 per pixel, in units of the rms of the spectrum.
        per_bin = rebinned.ivar[0, 200] / rebinned.rms_flux[0] ** 2
        pixels = np.count_nonzero(LOG_GRID.bin_of(np.concatenate(list(WAVES.values()))) == 200)
        assert per_bin == pytest.approx(25 * pixels, rel=1e-4)

    @pytest.mark.parametrize(("arm", "flag"), [("b", 2), ("r", 4), ("z", 8)])
    def test_absent_and_masked_arms_are_alike(self, arm, flag):
        whole = observe(lambda wave: wave / 6000)
        absent = Spectra(
            tuple(a for a in whole.arms if a.name != arm),
            whole.keys,
            whole.flags,
            whole.source,
            whole.row,
        )
        masked = Spectra(
            tuple(Arm(a.name, a.wave_aa, a.flux, a.ivar * (a.name != arm)) for a in whole.arms),
            whole.keys,
            whole.flags,
            whole.source,
            whole.row,
        )
        assert flags_of(absent) == flags_of(masked) == [flag]

    @pytest.mark.parametrize(("number", "flag"), [(0, 2), (1, 4), (2, 8)])
    @pytest.mark.parametrize("what", ["nm", "um", "flat", "constant"])
    def test_an_arm_off_the_grid_or_flat_is_flagged(self, number, flag, what):
        spectra = observe(lambda wave: wave / 6000)
        arm = spectra.arms[number]
        factor = {"nm": 0.1, "um": 1e-4}.get(what, 1.0)
        flux = {"flat": 0 * arm.flux, "constant": 0 * arm.flux + 1}.get(what, arm.flux)
        arms = list(spectra.arms)
        arms[number] = replace(arm, wave_aa=arm.wave_aa * factor, flux=flux)
        assert flags_of(replace(spectra, arms=tuple(arms)))[0] & flag
        assert not flags_of(spectra)[0] & flag

    @pytest.mark.parametrize("what", ["flux", "ivar"])
    @pytest.mark.parametrize("size", [1e4, 1e6, 1e12, 1e30])
    def test_absurd_pixels_are_mended_and_flagged(self, what, size):
        sound = observe(lambda wave: wave / 6000, n=2)
        spectra = observe(lambda wave: wave / 6000, n=2)
        getattr(spectra.arms[1], what)[1, [50, 900, 901]] = size
        masked = observe(lambda wave: wave / 6000, n=2)
        masked.arms[1].ivar[1, [50, 900, 901]] = 0
        mended = prepare(spectra, LOG_GRID)
        assert mended.flags.tolist() == [0, Flag.OUTLIER_PIXELS]
        np.testing.assert_array_equal(mended.flux[0], prepare(sound, LOG_GRID).flux[0])
        np.testing.assert_array_equal(mended.flux[1], prepare(masked, LOG_GRID).flux[1])
        kept = prepare(spectra, LOG_GRID, mend_outliers=False)
        assert (kept.flags & Flag.OUTLIER_PIXELS).tolist() == [0, Flag.OUTLIER_PIXELS]
        assert np.abs(kept.flux[1] - mended.flux[1]).max() > 0.3 or kept.flags[1] & Flag.CORRUPTED
        assert getattr(spectra.arms[1], what)[1, 50] == np.float32(size)  # the input is left alone

    def test_nothing_at_all(self):
        whole = observe(lambda wave: wave / 6000)
        empty = Spectra(
            tuple(Arm(a.name, a.wave_aa, a.flux, a.ivar * 0) for a in whole.arms),
            whole.keys,
            whole.flags,
            whole.source,
            whole.row,
        )
        (flags,) = flags_of(empty)
        names = "NO_DATA|ARM_B_MASKED|ARM_R_MASKED|ARM_Z_MASKED|LOW_COVERAGE"
        assert flag_names(flags) == names
        rebinned = prepare(empty, LOG_GRID)
        assert not rebinned.flux.any()
        assert np.isnan(rebinned.rms_flux[0])

    @pytest.mark.parametrize(("share", "low"), [(0.48, True), (0.52, False)])
    def test_low_coverage_is_under_half_of_the_bins(self, share, low):
        spectra = observe(lambda wave: wave / 6000)
        end = LOG_GRID.lower_edges_aa[round(share * 443)]
        for arm in spectra.arms:
            arm.ivar[:, arm.wave_aa > end] = 0
        assert bool(flags_of(spectra)[0] & Flag.LOW_COVERAGE) == low

    def test_constant_flux(self):
        spectra = observe(lambda wave: wave * 0)
        for arm in spectra.arms:
            arm.flux[:] = 3.25
        flat = Flag.CONSTANT_FLUX | Flag.ARM_B_MASKED | Flag.ARM_R_MASKED | Flag.ARM_Z_MASKED
        assert flags_of(spectra) == [flat]
        for arm in spectra.arms:
            arm.flux[:] = 0.0
        assert flags_of(spectra) == [flat]

    def test_numbers_too_large_are_corrupted_and_leave_no_nan(self):
        spectra = observe(lambda wave: wave / 6000)
        spectra.arms[0].flux[0, 100] = 3e38
        spectra.arms[0].ivar[0, 100] = 3e38
        rebinned = prepare(spectra, LOG_GRID, mend_outliers=False)
        assert rebinned.flags.tolist() == [Flag.CORRUPTED | Flag.OUTLIER_PIXELS]
        assert not rebinned.flux.any()
        assert not rebinned.ivar.any()

    def test_blocks_change_nothing(self):
        spectra = observe(lambda wave: wave / 6000, n=300)
        whole = prepare(spectra, LINEAR_GRID)
        for rows in (slice(0, 1), slice(100, 260)):
            part = prepare(spectra[rows], LINEAR_GRID)
            for name in ("flux", "ivar", "mean_flux", "rms_flux", "sn", "flags"):
                np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[rows], name)

    def test_flags_of_the_reader_are_kept(self):
        spectra = observe(lambda wave: wave / 6000, n=2)
        spectra.flags[1] = Flag.NOT_TARGET | Flag.NAN_FLUX
        assert flags_of(spectra) == [0, Flag.NOT_TARGET | Flag.NAN_FLUX]


class TestSignalToNoise:
    def test_equals_nanmedian(self):
        rng = np.random.default_rng(0)
        flux = rng.normal(3, 1, (6, 501)).astype("f4")
        ivar = (rng.gamma(2, 1, flux.shape) * (rng.random(flux.shape) > 0.3)).astype("f4")
        ivar[2] = 0
        ivar[3, 1:] = 0
        ivar[3, 0] = 4
        found = arm_sn([Arm("r", np.arange(501.0) + 6000, flux, ivar)], LOG_GRID, 6)
        assert np.isnan(found[:, [0, 2]]).all()
        expected = [
            np.median((f * np.sqrt(i))[i > 0]) if i.any() else np.nan
            for f, i in zip(flux, ivar, strict=True)
        ]
        np.testing.assert_allclose(found[:, 1], expected, rtol=1e-5)

    def test_a_coadd_over_arms_is_split_where_arms_do_not_overlap(self):
        wave = np.arange(3500.0, 10000.0)
        level = np.select([wave < 5770, wave < 7600], [1, 2], 3) + 0.1 * np.sin(wave)
        ivar = np.ones((1, len(wave)), "f4")
        found = arm_sn([Arm("brz", wave, level[None, :].astype("f4"), ivar)], LOG_GRID, 1)
        np.testing.assert_allclose(found, [[1, 2, 3]], rtol=0.01)


class TestCorrupted:
    """The paper's corrupted spectra, and all that must not be taken for one."""

    @pytest.mark.parametrize("third", [0, 1, 2])
    @pytest.mark.parametrize("kind", ["offset", "negative", "noise"])
    @pytest.mark.parametrize("sn", [0.5, 5.0, 30.0])
    def test_a_third_replaced_by_garbage(self, third, kind, sn):
        spectra = observe(lambda wave: (wave / 6000) ** -1, sn)
        rng = np.random.default_rng(1)
        low = 3600 + third * 6224 / 3
        for arm in spectra.arms:
            where = (arm.wave_aa >= low) & (arm.wave_aa < low + 6224 / 3)
            size = 1000 * max(1.0, 1 / sn)
            garbage = {
                "offset": size * (1 + 0.2 * np.sin(arm.wave_aa / 30)),
                "negative": np.full(len(where), -size),
                "noise": rng.normal(0, 10 * size, len(where)),
            }[kind]
            arm.flux[0, where] = garbage[where]
        assert flags_of(spectra)[0] & Flag.CORRUPTED

    @pytest.mark.parametrize("normalised", [True, False])
    def test_a_jump_of_ten_thousand(self, normalised):
        sound = np.random.default_rng(0).normal(1, 0.3, (3, 443)).astype("f4")
        sound /= np.median(np.abs(sound), axis=1, keepdims=True)
        sound[:, 199:202] = 0
        jump = sound.copy()
        jump[[0, 2], 200] = CORRUPT_JUMP * 1.01
        jump[1, 200] = CORRUPT_JUMP * 0.99
        ivar = np.ones((3, 443))
        ivar[2, 200] = 0  # what empty bins hold does not count
        flux = (sound, jump) if normalised else (jump, sound)
        assert corrupted(flux[0], ivar, flux[1]).tolist() == [Flag.CORRUPTED, 0, 0]

    @pytest.mark.parametrize("size", [0, 1, 10, 1e3, 1e6, 1e8, 1e12, 1e20, 1e30, 3e38])
    @pytest.mark.parametrize("third", [0, 1, 2])
    def test_a_third_filled_with_a_value(self, size, third):
        # From 1e8 on, float32 makes the rest of the normalised spectrum a constant.
        spectra = observe(lambda wave: (wave / 6000) ** -1)
        for arm in spectra.arms:
            where = (arm.wave_aa >= 3600 + third * 2075) & (arm.wave_aa < 5675 + third * 2075)
            arm.flux[0, where] = size
        assert flags_of(spectra)[0] & Flag.CORRUPTED

    def test_more_than_half_of_the_bins_alike(self):
        spectra = observe(lambda wave: (wave / 6000) ** -1)
        for arm in spectra.arms[:2]:
            arm.flux[:] = 0
        masked = Flag.ARM_B_MASKED | Flag.ARM_R_MASKED
        assert flags_of(spectra) == [Flag.CORRUPTED | masked | Flag.ARM_STEP]

    @pytest.mark.parametrize("sn", [0.3, 3.0, 100.0])
    @pytest.mark.parametrize(
        "light",
        [
            lambda wave: (wave / 6000) ** -4,  # the hottest star there can be
            lambda wave: (wave / 6000) ** 6,  # a cool one
            lambda wave: np.where(wave < 4000, 0.02, 1.0),  # a deep break
            lambda wave: 1 + 0 * wave,
        ],
    )
    def test_smooth_spectra_are_sound(self, light, sn):
        assert flags_of(observe(light, sn)) == [0]

    def test_strong_emission_lines_are_sound(self):
        # Equivalent widths of a thousand Å and more: a dwarf starburst at z = 0.1.
        def light(wave):
            lines = sum(
                size * np.exp(-0.5 * ((wave / 1.1 - rest) / 3) ** 2)
                for rest, size in [(3728, 80), (4862, 90), (4960, 200), (5008, 600), (6563, 300)]
            )
            return 1 + lines

        for sn in (1.0, 10.0, 50.0):
            assert flags_of(observe(light, sn)) == [0]

    @pytest.mark.parametrize("z", [5.0, 5.5, 5.8])
    @pytest.mark.parametrize("sn", [1.0, 5.0, 20.0])
    def test_the_highest_redshifts_are_sound(self, z, sn):
        # Noise up to Lyman alpha, light beyond: not two thirds of data and one of garbage.
        break_aa = 1215.67 * (1 + z)
        assert flags_of(observe(lambda wave: np.where(wave < break_aa, 0.0, 1.0), sn)) == [0]

    def test_a_bright_brown_dwarf_is_sound(self):
        assert flags_of(observe(lambda wave: np.exp((wave - 9000) / 350), 30.0)) == [0]

    def test_real_spectra_are_sound_until_a_third_is_spoilt(self, shared_data):
        sound = spoilt = 0
        for folder in ("boss_plate7102", "lamost_dr1_stars", "sdss_misc", "desi_tile80693"):
            for path in find_files([shared_data / folder])[::4]:
                spectra = read_spectra(path)
                sound += sum(not flags & Flag.CORRUPTED for flags in flags_of(spectra))
                for arm in spectra.arms:
                    where = (arm.wave_aa > 5000) & (arm.wave_aa < 7000)
                    arm.flux[:, where] += 1000 * np.abs(np.median(arm.flux)) + 1000
                spoilt += sum(bool(flags & Flag.CORRUPTED) for flags in flags_of(spectra))
        assert sound == spoilt > 40


class TestDuplicates:
    def test_exposure_keys_tell_repeats_from_duplicates(self):
        keys = Keys.make(
            np.array([5, 5, 5, 6, -1, -1, 0, 0]),
            night=np.array([1, 1, 2, 1, 1, 1, 1, 1]),
        )
        expected = [False, True, False, False, False, False, False, False]
        assert duplicate_keys(keys).tolist() == expected

    @given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 2)), max_size=25))
    def test_equals_a_set(self, rows):
        ids = np.array([row[0] for row in rows], dtype=np.int64)
        keys = Keys.make(ids, fiber=np.array([row[1] for row in rows], dtype=np.int64))
        seen = set()
        expected = [row in seen or bool(seen.add(row)) for row in rows]
        assert duplicate_keys(keys).tolist() == expected


def test_the_docs_list_what_flags_do():
    page = Path(__file__).parents[1] / "docs" / "reference" / "formats.md"
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|[^|]*\|(.*)\|$", page.read_text("utf-8"), re.M)
    assert [(int(bit), name) for bit, name, _ in rows] == [(f.value, f.name) for f in Flag]
    for column, flags in enumerate((UNUSABLE, NOT_TRAINED, REFUSED)):
        marked = [Flag[name] for _, name, cells in rows if "×" in cells.split("|")[column]]
        assert marked == list(flags)


def test_flags_are_counted_and_named():
    flags = np.array([0, 3, 2, Flag.CORRUPTED | 2])
    assert count_flags(flags) == {"NO_DATA": 1, "ARM_B_MASKED": 3, "CORRUPTED": 1}
    assert flag_names(0) == ""
    assert flag_names(int(Flag.CORRUPTED | Flag.NO_DATA)) == "NO_DATA|CORRUPTED"
