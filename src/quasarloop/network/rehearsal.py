"""Labelled spectra of simulated skies, in memory: what networks that ship learn, and rehearse.

Several samples are mixed: quasar targets as DESI sees them, samples flat in redshift as every
survey that can be read sees them, distant quasars, active galaxies, and stars and galaxies that
are taken for quasars. So a network knows the instruments, every redshift and what else there is.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from quasarloop.grid import LOG_GRID, WaveGrid, normalise, rebin
from quasarloop.network.labelled import TrainingData, joined_data
from quasarloop.simulate.draw import draw_objects
from quasarloop.simulate.faults import NO_FAULTS, FaultRates, disturb_arm, draw_faults
from quasarloop.simulate.instrument import instrument_named
from quasarloop.simulate.model import observed_flux
from quasarloop.simulate.noise import blur, draw_conditions, observe
from quasarloop.simulate.population import (
    Distribution,
    GalaxyKindPopulation,
    GalaxyPopulation,
    Population,
    QuasarPopulation,
    StarPopulation,
)
from quasarloop.simulate.templates import TemplateLibrary
from quasarloop.truth import SpecType

__all__ = [
    "TRAINING_FAULTS",
    "MixSample",
    "SampleOptions",
    "mixed_skies",
    "observed",
    "training_mix",
]

# Spectra simulated at once.
_BLOCK: Final = 512
# Of spectra that train; the blends and sky fibres of a survey have no label. Source: our choice.
TRAINING_FAULTS: Final = NO_FAULTS.model_copy(
    update={"masked_arm": 0.02, "cosmic_rays": 0.05, "sky_residuals": 0.2, "arm_step": 0.05}
)


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


class MixSample(NamedTuple):
    """Part of the mix: its share, and what is seen how."""

    share: float
    population: Population
    instrument: str
    light_dex: tuple[float, float]


@cache
def training_mix() -> dict[str, MixSample]:
    """Return the samples that the shipped weights learned, by name; shares add up to 1.

    Source: our choice, measured in docs/measurements/training_mix.md.
    """
    usual = Population()
    flat = _changed(usual.quasars, redshift=_flat(0.03, 5.0), r_mag=_flat(17.0, 22.5))
    far = _changed(usual.quasars, redshift=_flat(3.8, 7.0), r_mag=_flat(19.0, 24.5))
    flat_desi = _changed(flat, redshift=_flat(0.03, 7.0), r_mag=_flat(18, 23))
    # Broad, often double-peaked or weak lines on a blue continuum; nuclei of galaxies.
    agn = _changed(
        usual.quasars, redshift=_flat(0.02, 0.9), r_mag=_flat(15.5, 20.5),
        faintest_absolute_mag=-18.0, double_peaked_fraction=0.4, weak_line_fraction=0.2,
        slope_mean=-0.2, slope_scatter=0.5,
    )  # fmt: skip
    faint = Distribution(knots=(19.0, 21.0, 22.5, 23.5), density=(1.0, 2.0, 4.0, 4.0))
    others = _hard_negatives(faint)

    def sky(quasars: QuasarPopulation) -> Population:
        return usual.model_copy(update={"quasars": quasars})

    # LAMOST sees brighter ones: its quasars are brighter than i = 20 (Dong et al. 2018, AJ 155,
    # 189), most of its stars and galaxies than r = 18.5.
    bright = _hard_negatives(_flat(14.5, 19.0)).model_copy(
        update={"quasars": _changed(flat, weight=0.60, r_mag=_flat(15.5, 19.5))}
    )
    return {
        "usual": MixSample(0.22, usual, "desi", (-0.5, 0.3)),
        "flat": MixSample(0.11, sky(flat), "sdss", (-0.3, 0.2)),
        "flat_sdssv": MixSample(0.05, sky(flat), "sdssv", (-0.2, 0.3)),
        "flat_lamost": MixSample(0.06, bright, "lamost", (-0.4, 0.2)),
        "flat_4most": MixSample(0.05, sky(flat), "4most", (-0.2, 0.3)),
        "flat_weave": MixSample(0.03, sky(flat), "weave", (-0.4, 0.2)),
        "flat_desi": MixSample(0.12, sky(flat_desi), "desi", (-0.4, 0.3)),
        "far": MixSample(0.08, sky(far), "desi", (-0.3, 0.3)),
        "others": MixSample(0.18, others, "desi", (-0.7, 0.3)),
        "others_sdss": MixSample(0.05, others, "sdss", (-0.5, 0.3)),
        "agn": MixSample(0.05, sky(agn), "sdss", (-0.3, 0.2)),
    }


def mixed_skies(n: int, seed: int, grid: WaveGrid = LOG_GRID) -> TrainingData:
    """Simulate labelled spectra of every sample of the mix, with the built-in library.

    Args:
        n: spectra, at least 1.
        seed: same seed, same bytes.
        grid: of the network.
    """
    samples = training_mix().values()
    ends = np.rint(n * np.cumsum([sample.share for sample in samples])).astype(int)
    seeds = np.random.SeedSequence(seed).generate_state(len(samples)).tolist()
    data = joined_data(
        *(
            observed(
                sample.population,
                sample.instrument,
                size,
                own,
                grid,
                SampleOptions(light_dex=sample.light_dex, faults=TRAINING_FAULTS),
            )
            for sample, size, own in zip(
                samples, np.diff(ends, prepend=0).tolist(), seeds, strict=True
            )
            if size
        )
    )
    return replace(data, object_id=np.arange(n))  # every spectrum is of another object


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
        instrument: one of `quasarloop.simulate.instrument.INSTRUMENTS`.
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


def _hard_negatives(r_mag: Distribution) -> Population:
    """Late, odd and noisy stars, galaxies at 1 < z < 1.6, few quasars: what is taken for them."""
    kinds = {"passive": 0.2, "star_forming": 0.45, "post_starburst": 0.1, "strong_line": 0.25}
    high = Distribution(knots=(0.2, 0.9, 1.1, 1.6), density=(0.5, 1.0, 3.0, 3.0))
    galaxies = GalaxyPopulation(
        weight=0.45,
        r_mag=r_mag,
        type2_agn=GalaxyKindPopulation(weight=0.05, redshift=_flat(0.05, 1.2)),
        **{n: GalaxyKindPopulation(weight=w, redshift=high) for n, w in kinds.items()},
    )
    stars = StarPopulation(
        weight=0.45,
        r_mag=r_mag,
        kinds={"M": 0.2, "K": 0.2, "G": 0.1, "F": 0.1, "A": 0.08, "B": 0.02, "C": 0.08, "CV": 0.07,
               "DA": 0.1, "DB": 0.05},
    )  # fmt: skip
    return Population(quasars=QuasarPopulation(weight=0.10), galaxies=galaxies, stars=stars)


def _flat(low: float, high: float) -> Distribution:
    return Distribution(knots=(low, high))


def _changed(quasars: QuasarPopulation, **changes: Any) -> QuasarPopulation:
    return QuasarPopulation(**{**dict(quasars), **changes})


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
