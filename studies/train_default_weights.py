"""Train the weights that ship inside the package: on the simulated sky alone.

    python studies/train_default_weights.py --out src/quasarloop/data/default_weights.h5

Two simulated surveys are mixed (`quasarloop.network.rehearsal`). No real spectrum is used. Part is
held out: it calibrates the redshift head. With --work, killed and started again it goes on from the
last epoch.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from quasarloop.network.calibration import calibrate
from quasarloop.network.config import preset
from quasarloop.network.options import TrainingOptions
from quasarloop.network.records import EpochRecord, write_history
from quasarloop.network.rehearsal import mixed_skies
from quasarloop.network.training import train
from quasarloop.network.training_run import Rows
from quasarloop.network.weights import read_weights, write_weights

CALIBRATION_SEED = 1000


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


if __name__ == "__main__":
    sys.exit(main())
