"""`F` of the inspection page on real spectra: how often the best of all templates has the redshift.

    python studies/inspect_fit_table.py --data $DATA

Prints the table of docs/measurements/inspection.md. The number of components of each class and the
terms of the polynomial were chosen on the half of the objects whose name has an even checksum; the
other half was looked at once, after that.
"""

import argparse
import csv
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from quasarloop.inspect.fit import Fits, fit_spectrum
from quasarloop.inspect.library import library
from quasarloop.labels.merge import MAX_Z_RANGE
from quasarloop.read import read_spectra

CLASSES = ("QSO", "GALAXY", "STAR")
HALVES = ("chosen on", "held out")


def objects(data: Path) -> Iterator[tuple[str, int, float, Fits, float]]:
    """Class, half, redshift, fits and processor seconds of every labelled spectrum."""
    for table in sorted(data.glob("*/truth.csv")):
        with table.open(encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                spectra = read_spectra(table.parent / row["file"])
                number = row["row"].removeprefix("TARGET")
                if number != row["row"]:
                    place = int(np.flatnonzero(spectra.keys.target_id == int(number))[0])
                else:
                    place = int(number)
                started = time.process_time()
                fits = fit_spectrum(spectra.arms, row=place)
                took = time.process_time() - started
                name = row["object_group"] or row["targetid_or_plate_mjd_fiber"]
                half = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 2
                yield row["class"], half, float(row["z"]), fits, took


def main() -> None:
    """Parse, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    given = parser.parse_args()
    library()
    found = []
    for spectype, half, z, fits, took in objects(given.data):
        near = [abs(fit.z - z) < MAX_Z_RANGE * (1 + z) for fit in fits.best]
        same = fits.best[0].spectype.word == spectype
        found.append((spectype, half, near[0], any(near), same, took))
    print("| class | spectra | z of the best | z among the best three | class of the best |")
    print("|---|---:|---:|---:|---:|")
    for spectype in CLASSES:
        for name, halves in (("all", (0, 1)), *((HALVES[half], (half,)) for half in (0, 1))):
            rows = [row[2:5] for row in found if row[0] == spectype and row[1] in halves]
            shares = " | ".join(f"{100 * share:.0f} %" for share in np.mean(rows, axis=0))
            print(f"| {spectype}, {name} | {len(rows)} | {shares} |")
    times = np.array([row[5] for row in found]) * 1e3
    print(f"\nprocessor time: median {np.median(times):.0f} ms, 95 % within", end=" ")
    print(f"{np.percentile(times, 95):.0f} ms")


if __name__ == "__main__":
    main()
