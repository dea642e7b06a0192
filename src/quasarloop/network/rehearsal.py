"""Labelled spectra of the built-in sky, in memory: what networks that ship learn, and rehearse.

Two surveys are mixed: quasar targets as DESI sees them, and a brighter sample flat in redshift seen
by the BOSS spectrograph, so that a network knows both instruments and every redshift.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from quasarloop.grid import LOG_GRID, WaveGrid, normalise, rebin
from quasarloop.network.labelled import TrainingData, joined_data
from quasarloop.simulate.draw import draw_objects
from quasarloop.simulate.faults import NO_FAULTS, FaultRates, disturb_arm, draw_faults
from quasarloop.simulate.instrument import instrument_named
from quasarloop.simulate.model import observed_flux
from quasarloop.simulate.noise import blur, draw_conditions, observe
from quasarloop.simulate.population import Distribution, Population
from quasarloop.simulate.templates import TemplateLibrary
from quasarloop.truth import SpecType

__all__ = ["SampleOptions", "mixed_skies", "observed"]

# Spectra simulated at once.
_BLOCK: Final = 512
# The second sample: every redshift a quasar can be found at, and bright enough to learn from.
_FLAT_Z: Final = (0.03, 4.5)
_BRIGHT_R: Final = (17.0, 22.5)


@dataclass(frozen=True)
class SampleOptions:
    """What labelled spectra are made of, and how well they are seen.

    Attributes:
        library: templates to make them of; None is the built-in library.
        light_dex: log10 of the share of the nominal light that a fibre catches, uniform between
            these two: the lower, the noisier.
        faults: of the spectrograph; blends and sky fibres have no label and are not made.
    """

    library: TemplateLibrary | None = None
    light_dex: tuple[float, float] = (0.0, 0.0)
    faults: FaultRates = NO_FAULTS


def mixed_skies(n: int, seed: int, grid: WaveGrid = LOG_GRID) -> TrainingData:
    """Simulate labelled spectra of both surveys, three fifths DESI's.

    Args:
        n: spectra, at least 1.
        seed: same seed, same bytes.
        grid: of the network.
    """
    desi = n * 3 // 5
    surveys = (Population(), "desi", desi, seed), (_flat_population(), "sdss", n - desi, seed + 1)
    both = joined_data(*(observed(*survey, grid) for survey in surveys if survey[2]))
    return replace(both, object_id=np.arange(n))  # every spectrum is of another object


def observed(
    population: Population,
    instrument: str,
    n: int,
    seed: int,
    grid: WaveGrid = LOG_GRID,
    sample: SampleOptions = SampleOptions(),
) -> TrainingData:
    """Simulate labelled spectra of one survey.

    Args:
        population: what there is to see.
        instrument: ``"desi"`` or ``"sdss"``.
        n: spectra, at least 1.
        seed: same seed, same bytes.
        grid: of the network.
        sample: what they are made of, and how well they are seen.
    """
    blocks = (
        _block(population, instrument, min(_BLOCK, n - start), (seed, start), grid, sample)
        for start in range(0, n, _BLOCK)
    )
    return joined_data(*blocks)


def _flat_population() -> Population:
    usual = Population()
    quasars = usual.quasars.model_copy(
        update={
            "redshift": Distribution(knots=_FLAT_Z),
            "r_mag": Distribution(knots=_BRIGHT_R),
        }
    )
    return usual.model_copy(update={"quasars": quasars})


def _block(
    population: Population,
    instrument: str,
    n: int,
    seed: tuple[int, int],
    grid: WaveGrid,
    sample: SampleOptions,
) -> TrainingData:
    survey = instrument_named(instrument)
    objects = draw_objects(population, n, np.random.SeedSequence(seed[0]), first_index=seed[1])
    light = observed_flux(objects, survey.wave_aa, sample.library)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    # Streams of their own: a sample as usual is what it was before there were others.
    fibres, troubles = (np.random.default_rng(np.random.SeedSequence((*seed, k))) for k in (1, 2))
    conditions = draw_conditions(rng, n, len(survey.arms))
    share = 10 ** fibres.uniform(*sample.light_dex, n)
    conditions = replace(conditions, fibre=conditions.fibre * share.astype(np.float32))
    faults = draw_faults(troubles, n, sample.faults, len(survey.arms))
    arms = []
    for arm in survey.arms:
        noisy = observe(
            arm, blur(light[:, arm.pixels], arm.sigma_pixels), conditions, rng.spawn(1)[0]
        )
        noisy = disturb_arm(noisy, arm, survey, faults, troubles.spawn(1)[0], cosmic_rays=True)
        arms.append((arm.wave_aa, noisy.flux, noisy.ivar))
    scaled = normalise(*rebin(arms, grid))
    is_qso = objects.spectype == SpecType.QSO
    return TrainingData.make(
        scaled.flux,
        objects.spectype,
        objects.z,
        bal=np.where(is_qso, objects.quasar.bal.is_bal, 0),
        empty=-scaled.mean_flux / scaled.rms_flux,
    )
