"""Train the weights that ship inside the package, those of the ablation, and those of the folds.

    python studies/train_default_weights.py log-plain --work W
    python studies/train_default_weights.py log-all linear-all --work W --templates TEMPLATES
    python studies/train_default_weights.py log-calibrated-folds log-calibrated-ship --work W \
        --templates TEMPLATES --data $DATA

Every run writes W/<run>.h5; what is there is not trained again, what a run starts from is trained
first, and a killed run goes on from its last epoch. `plain` is simulated with the built-in library
alone, `all` with both. `folds` and `ship` go on from `all` with real spectra: `folds` five times
without a fifth of the objects, to be judged on these, `ship` with all. Simulated spectra held out
calibrate the redshift head; that of `ship` is calibrated on what the folds predict for objects that
did not train them. The other runs, of small networks, are for the table of what each part
of the mix is worth.

`calibrated-plain`, `calibrated-folds` and `calibrated-ship` are these networks with their classes
calibrated: a linear head, fitted to more of the mix and to the real spectra that the run may learn
from, each object as often as in training; then a constant, by which so many of the others of fresh
skies of quasar targets are called quasars as `FALSE_SHARE` has it.
`calibrated-ship` ships.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from label_saving_real import real_spectra
from quasarloop.artefacts import check_folder, checksum
from quasarloop.classes import CONFIDENCE_THRESHOLD
from quasarloop.ensemble.heads import Heads, LabelledFeatures, fit_head, fold_head
from quasarloop.grid import WaveGrid, grid_named
from quasarloop.network.calibration import calibrate
from quasarloop.network.config import NetworkConfig, preset
from quasarloop.network.decode import LineOutputs
from quasarloop.network.features import Features
from quasarloop.network.labelled import TrainingData, joined_data
from quasarloop.network.options import TrainingOptions
from quasarloop.network.predict import Predictor
from quasarloop.network.records import EpochRecord, write_history
from quasarloop.network.rehearsal import TRAINING_FAULTS, SampleOptions, observed, training_mix
from quasarloop.network.training import train
from quasarloop.network.training_run import Rows
from quasarloop.network.weights import Weights, read_weights, write_weights
from quasarloop.quality import prepare
from quasarloop.simulate.model import ModelSky
from quasarloop.simulate.population import Population
from quasarloop.simulate.templates import TemplateLibrary, read_templates
from quasarloop.truth import SpecType
from skies import observed_tiles

FOLDS: Final = 5
HELD_OUT: Final = 3_000
SHIFT_BINS: Final = 40  # log grid only: on the other one a shift is no redshift
# Every object of the real sets together counts so many times in an epoch of fine-tuning.
REAL_REPEATS: Final = 24
# Calibration of classes: spectra of the mix for the head; targets of each library for the constant,
# and how many of the others there may be called quasars, of which a quarter is room for chance.
CALIBRATED: Final = "calibrated-"
HEAD_OBJECTS, HEAD_SEED = 16_000, 55
SKY_OBJECTS, BUILT_IN_SEED, TEMPLATES_SEED = 20_000, 8214, 8213
FALSE_SHARE: Final = 0.0015


class Run(NamedTuple):
    """One training: on which spectra, from what, how long."""

    objects: int
    epochs: int
    rate: float
    seed: int
    start: str = ""  # a run; empty: random first weights
    templates: bool = False  # half of the spectra
    real: bool = False
    samples: tuple[str, ...] = tuple(training_mix())
    disturbed: float = 0.6
    filters: int = 100


RUNS: Final = {
    "plain": Run(100_000, 6, 3e-3, seed=15),
    "all": Run(100_000, 6, 1.5e-3, seed=25, start="plain", templates=True),
    "folds": Run(40_000, 3, 5e-4, seed=35, start="all", templates=True, real=True),
    "ship": Run(40_000, 3, 5e-4, seed=35, start="all", templates=True, real=True),
}
# Small networks, from nothing: what each part of the mix is worth.
_USUAL: Final = ("usual", "flat")
_SMALL: Final = Run(20_000, 12, 3e-3, seed=45, samples=_USUAL, disturbed=0.0, filters=48)
ABLATION: Final = {
    "sim": _SMALL,
    "sim-templates": _SMALL._replace(templates=True),
    "sim-templates-holes": _SMALL._replace(templates=True, disturbed=0.6),
    "sim-templates-holes-negatives": _SMALL._replace(
        templates=True, disturbed=0.6, samples=RUNS["all"].samples
    ),
    "sim-holes-negatives": _SMALL._replace(disturbed=0.6, samples=RUNS["all"].samples),
}


def mix(run: Run, grid: WaveGrid, library: TemplateLibrary | None) -> TrainingData:
    """Simulate the spectra of a run: every part with each library."""
    parts, chosen = [], training_mix()
    whole = sum(chosen[name].share for name in run.samples)
    libraries = (None, library) if run.templates else (None,)
    for number, name in enumerate(run.samples):
        share, population, instrument, light_dex = chosen[name]
        for k, made_of in enumerate(libraries):
            n = round(run.objects * share / whole / len(libraries))
            seed = 1000 * run.seed + 10 * number + k
            sample = SampleOptions(made_of, light_dex, TRAINING_FAULTS)
            parts.append(observed(population, instrument, n, seed, grid, sample))
    joined = joined_data(*parts)
    return replace(joined, object_id=np.arange(len(joined)))


class Trainer(NamedTuple):
    """Trains runs and what they start from, on one grid, in one folder."""

    grid: WaveGrid
    work: Path
    templates: Path | None
    data: Path | None

    def path(self, name: str) -> Path:
        """Return the file of a run."""
        return self.work / f"{self.grid.kind}-{name}.h5"

    def weights(self, name: str) -> Weights:
        """Return a run's weights, trained now if they are not there."""
        if not self.path(name).exists():
            trained = name.removeprefix(CALIBRATED)
            run = (RUNS | ABLATION)[trained.rstrip("0123456789")]
            if trained == name:
                self._train(name, run)
            else:
                write_weights(self._calibrated(trained, run), self.path(name))
        return read_weights(self.path(name))

    def _calibrated(self, name: str, run: Run) -> Weights:
        weights, library = self.weights(name), self._library(name, run)
        learned = mix(run._replace(objects=HEAD_OBJECTS, seed=HEAD_SEED), self.grid, library)
        features = features_of(weights, learned.flux)
        is_qso = learned.is_qso
        if run.real:
            real, rows = self._real(name)
            features = Features.concatenate([features, features_of(weights, real.flux)[rows]])
            is_qso = np.append(is_qso, real.is_qso[rows])
        each = np.arange(len(is_qso))
        head = fit_head(LabelledFeatures(features, is_qso, each), weights.config)
        others = np.concatenate(
            [
                head.logits(features_of(weights, flux), weights.config)[0]
                for flux in targets(self.grid, self.templates if run.templates else None)
            ]
        )
        folded = fold_head(weights, at_false_share(head, others), 0)
        recipe = {
            **weights.provenance["recipe"],
            "classes": {
                "head": {"objects": HEAD_OBJECTS, "seed": HEAD_SEED, "trunk": weights.digest()},
                "constant": {"others": len(others), "false_share": FALSE_SHARE,
                             "seeds": [BUILT_IN_SEED, TEMPLATES_SEED][: 1 + run.templates]},
            },
        }  # fmt: skip
        # Its own record of a head would make it a survey's: heads are fitted to this network anew.
        return replace(folded, provenance={**weights.provenance, "recipe": recipe})

    def _library(self, name: str, run: Run) -> TemplateLibrary | None:
        if run.templates and self.templates is None:
            sys.exit(f"{name} needs --templates")
        return read_templates(self.templates) if run.templates and self.templates else None

    def _real(self, name: str) -> tuple[TrainingData, NDArray[np.int64]]:
        """Return real spectra, and the rows of those that a run learns from, repeated."""
        if self.data is None:
            sys.exit(f"{name} needs --data")
        spectra, group, _ = real_spectra(self.data, self.grid)
        return replace(spectra, object_id=group), _repeated(group, name.removeprefix("folds"))

    def _train(self, name: str, run: Run) -> None:
        started = time.monotonic()
        first: NetworkConfig | Weights = (
            self.weights(run.start)
            if run.start
            else preset("quasarloop2026", self.grid, n_filters=run.filters)
        )
        simulated = mix(run, self.grid, self._library(name, run))
        held = np.linspace(0, len(simulated) - 1, HELD_OUT).astype(np.int64)
        learned = np.setdiff1d(np.arange(len(simulated)), held)
        data, real = simulated, np.empty(0, dtype=np.int64)
        if run.real:
            spectra, rows = self._real(name)
            data, real = joined_data(simulated, spectra), len(simulated) + rows
        print(f"{name}: {len(learned)} simulated, {len(real)} real spectra, "
              f"{time.monotonic() - started:.0f} s", flush=True)  # fmt: skip

        def report(record: EpochRecord) -> None:
            seconds = time.monotonic() - started
            print(f"{name}, epoch {record.epoch}: loss {record.loss:.4f}, validation "
                  f"{record.validation_loss:.4f}, {record.completeness:.4f} complete, "
                  f"{record.purity:.4f} pure, {seconds:.0f} s", flush=True)  # fmt: skip

        result = train(
            data,
            first,
            TrainingOptions(
                epochs=run.epochs,
                learning_rate=run.rate,
                shift_bins=SHIFT_BINS if self.grid.kind == "log" else 0,
                disturbed=run.disturbed,
                schedule="cosine",
                monitor="none",
                precision="bfloat16",
            ),
            rows=Rows(np.append(learned, real), held),
            seed=run.seed,
            out_dir=self.work / self.path(name).stem,
            on_epoch=report,
        )
        weights = result.weights
        if name == "ship":
            for fold in range(FOLDS):
                self.weights(f"folds{fold}")
            outputs = predicted_by_folds(self.path("folds"), spectra)
            weights = calibrate(weights, spectra, outputs)
        story = {**weights.provenance, "recipe": self._recipe(name, run)}
        write_weights(replace(weights, provenance=story), self.path(name))
        write_history(result.history, self.path(name).with_suffix(".history.parquet"))

    def _recipe(self, name: str, run: Run) -> dict[str, Any]:
        """Return what the spectra were made of, for the provenance."""
        files = sorted(self.templates.glob("rrtemplate-*.fits")) if self.templates else []
        return {
            "run": name,
            **run._asdict(),
            "templates_sha256": {f.name: checksum(f) for f in files} if run.templates else {},
            "mix": {n: {**s._asdict(), "population": s.population.model_dump(mode="json")}
                    for n, s in training_mix().items() if n in run.samples},
        }  # fmt: skip


@cache
def targets(grid: WaveGrid, templates: Path | None) -> tuple[NDArray[np.float32], ...]:
    """Return the spectra of targets that are no quasars, of one library or both."""
    libraries: dict[Path | None, int] = {None: BUILT_IN_SEED}
    if templates is not None:
        libraries[templates] = TEMPLATES_SEED
    return tuple(
        prepare(spectra, grid).flux[seen.light.spectype != SpecType.QSO]
        for folder, seed in libraries.items()
        for spectra, seen in observed_tiles(ModelSky(Population(), folder), SKY_OBJECTS, seed)
    )


def features_of(weights: Weights, flux: NDArray[np.float32]) -> Features:
    """Return what heads read, without redshifts: half the time."""
    predictor = Predictor(weights)
    result = Features.empty(len(flux), weights.config)
    for rows, outputs in predictor.logits(flux):
        result.hidden[rows] = outputs.hidden.numpy()
        result.line_logit[rows] = outputs.box.numpy().max(axis=2)
    return result


def at_false_share(head: Heads, others: NDArray[np.float64]) -> Heads:
    """Return a head that calls `FALSE_SHARE` of some objects quasars.

    Args:
        head: one; its constant changes.
        others: (n,) logits that it gives to objects that are none.
    """
    limit = np.sort(others)[::-1][int(FALSE_SHARE * len(others))]  # so many are above it
    table = head.table.copy()
    table[0, -1] += logit(CONFIDENCE_THRESHOLD) - limit
    return replace(head, table=table)


def fold_of(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the fold of every real spectrum: all spectra of an object are in one."""
    order = np.random.default_rng(2026).permutation(int(group.max()) + 1)
    return np.asarray(order[group] % FOLDS, dtype=np.int64)


def fold_paths(path: Path) -> list[Path]:
    """Return the files of the folds; `path` is without the number."""
    return [path.with_stem(f"{path.stem}{fold}") for fold in range(FOLDS)]


def predicted_by_folds(path: Path, data: TrainingData) -> LineOutputs:
    """Predict every real spectrum with the network of the folds that its object did not train."""
    fold = fold_of(data.object_id)
    parts = [
        Predictor(read_weights(one)).predict(data.flux[fold == k], redshifts=True)
        for k, one in enumerate(fold_paths(path))
    ]
    back = np.argsort(np.argsort(fold, kind="stable"), kind="stable")
    log_p = [part.log_p for part in parts if part.log_p is not None]
    return LineOutputs(
        np.concatenate([part.confidence for part in parts]),
        np.concatenate([part.offset for part in parts]),
        np.concatenate(log_p) if log_p else None,
    )[back]


def _repeated(group: NDArray[np.int64], without: str) -> NDArray[np.int64]:
    """Return rows of the real spectra that train, each object as often as any other."""
    times = np.maximum(1, REAL_REPEATS // np.bincount(group)[group])
    if without.isdecimal():
        times = np.where(fold_of(group) == int(without), 0, times)
    return np.repeat(np.arange(len(group)), times)


def _names(wanted: list[str]) -> Iterator[tuple[str, str]]:
    for one in wanted:
        grid, _, name = one.partition("-")
        if name.endswith("folds"):
            yield from ((grid, f"{name}{fold}") for fold in range(FOLDS))
        else:
            yield grid, name


def main() -> int:
    """Train what is wanted and missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [*RUNS, *ABLATION, *(CALIBRATED + name for name in ("plain", "folds", "ship"))]
    known = [f"{grid}-{name}" for grid in ("log", "linear") for name in names]
    parser.add_argument("runs", nargs="+", choices=known, metavar="RUN")
    parser.add_argument("--work", type=Path, required=True, help="folder of weights, checkpoints")
    parser.add_argument("--templates", type=Path, help="folder of redrock's templates")
    parser.add_argument("--data", type=Path, help="folder of real sets")
    options = parser.parse_args()
    work = check_folder(options.work)
    for grid, name in _names(options.runs):
        Trainer(grid_named(grid), work, options.templates, options.data).weights(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
