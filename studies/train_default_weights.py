"""Train the weights that ship inside the package: on the simulated sky alone.

    python studies/train_default_weights.py --out src/quasarloop/data/default_weights.h5

Two simulated surveys are mixed: DESI quasar targets with DESI's arms, and a brighter sample flat
in redshift with the BOSS spectrograph, so that the network knows both instruments and every
redshift. No real spectrum is used. Part is held out: it calibrates the redshift head. With --work,
killed and started again it goes on from the last epoch.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from quasarloop.grid import LOG_GRID, normalise, rebin
from quasarloop.network.config import preset
from quasarloop.network.labelled import TrainingData
from quasarloop.network.options import TrainingOptions
from quasarloop.network.records import EpochRecord, write_history
from quasarloop.network.redshift_reading import calibrate
from quasarloop.network.training import train
from quasarloop.network.training_run import Rows
from quasarloop.network.weights import read_weights, write_weights
from quasarloop.simulate.draw import draw_objects
from quasarloop.simulate.instrument import instrument_named
from quasarloop.simulate.model import observed_flux
from quasarloop.simulate.noise import blur, draw_conditions, observe
from quasarloop.simulate.population import Distribution, Population
from quasarloop.truth import SpecType

BLOCK = 512
CALIBRATION_SEED = 1000
# The second sample: every redshift a quasar can be found at, and bright enough to learn from.
FLAT_Z = (0.03, 4.5)
BRIGHT_R = (17.0, 22.5)


def main() -> int:
    """Simulate, train, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--objects", type=int, default=30_000)
    parser.add_argument("--held-out", type=int, default=3_000, help="of them")
    parser.add_argument("--epochs", type=int, default=13)
    parser.add_argument("--preset", default="quasarloop2026")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--shift-bins", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--calibrate", action="store_true", help="only calibrate --out anew, on fresh spectra"
    )
    parser.add_argument("--work", type=Path, help="folder of the checkpoint")
    options = parser.parse_args()
    started = time.monotonic()
    if options.calibrate:
        fresh = mixed_skies(options.held_out, options.seed + CALIBRATION_SEED)
        write_weights(calibrate(read_weights(options.out), fresh), options.out)
        return 0
    data = mixed_skies(options.objects, options.seed)
    print(f"simulated {len(data)} spectra in {time.monotonic() - started:.0f} s", flush=True)

    def report(record: EpochRecord) -> None:
        seconds = time.monotonic() - started
        print(f"epoch {record.epoch}: loss {record.loss:.4f}, {seconds:.0f} s", flush=True)

    result = train(
        data,
        preset(options.preset),
        TrainingOptions(
            epochs=options.epochs,
            learning_rate=options.learning_rate,
            shift_bins=options.shift_bins,
            schedule="cosine",
            monitor="none",
            precision="bfloat16",
        ),
        rows=_rows(len(data), options.held_out),
        seed=options.seed,
        out_dir=options.work,
        on_epoch=report,
    )
    write_weights(result.weights, options.out)
    write_history(result.history, options.out.with_suffix(".history.parquet"))
    return 0


def _rows(n: int, held_out: int) -> Rows:
    """Hold out every so many-th spectrum: both surveys, in proportion."""
    held = np.zeros(n, dtype=bool)
    held[np.linspace(0, n - 1, held_out).astype(np.int64)] = True
    return Rows(np.flatnonzero(~held), np.flatnonzero(held))


def mixed_skies(n_objects: int, seed: int) -> TrainingData:
    """Simulate both surveys, three fifths DESI's."""
    first = n_objects * 3 // 5
    desi = observed(Population(), "desi", first, seed)
    boss = observed(_flat_population(), "sdss", n_objects - first, seed + 1)
    return TrainingData(
        **{name: np.concatenate([desi[name], boss[name]]) for name in desi},
        object_id=np.arange(n_objects, dtype=np.int64),
        trains=np.ones(n_objects, dtype=bool),
    )


def observed(population: Population, instrument: str, n: int, seed: int) -> dict[str, np.ndarray]:
    """Simulate spectra of a survey, ready for a network."""
    blocks = [
        _block(population, instrument, min(BLOCK, n - start), seed, start)
        for start in range(0, n, BLOCK)
    ]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _flat_population() -> Population:
    usual = Population()
    quasars = usual.quasars.model_copy(
        update={
            "redshift": Distribution(knots=FLAT_Z),
            "r_mag": Distribution(knots=BRIGHT_R),
        }
    )
    return usual.model_copy(update={"quasars": quasars})


def _block(
    population: Population, instrument: str, n: int, seed: int, start: int
) -> dict[str, np.ndarray]:
    survey = instrument_named(instrument)
    objects = draw_objects(population, n, np.random.SeedSequence(seed), first_index=start)
    light = observed_flux(objects, survey.wave_aa)
    rng = np.random.default_rng(np.random.SeedSequence((seed, start)))
    conditions = draw_conditions(rng, n, len(survey.arms))
    arms = []
    for arm in survey.arms:
        noisy = observe(
            arm, blur(light[:, arm.pixels], arm.sigma_pixels), conditions, rng.spawn(1)[0]
        )
        arms.append((arm.wave_aa, noisy.flux, noisy.ivar))
    scaled = normalise(*rebin(arms, LOG_GRID))
    is_qso = objects.spectype == SpecType.QSO
    return {
        "flux": scaled.flux,
        "empty": (-scaled.mean_flux / scaled.rms_flux).astype(np.float32),
        "spectype": objects.spectype,
        "z": objects.z,
        "bal": np.where(is_qso, objects.quasar.bal.is_bal, 0).astype(np.int8),
    }


if __name__ == "__main__":
    sys.exit(main())
