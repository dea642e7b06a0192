"""Judge every network of the round on the validation set, and on test spectra if there are any."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quasarloop.artefacts import read_manifest, write_manifest
from quasarloop.campaign.layout import (
    EVERY_ROUND,
    Stream,
    configured_truth,
    device_of,
    engine_of,
    seed_number,
    test_store,
    thresholds_of,
)
from quasarloop.campaign.state import Context, Step
from quasarloop.campaign.steps.candidates import START
from quasarloop.campaign.steps.networks import (
    CONTROL,
    FINAL,
    SETS_NAME,
    set_name,
    validation_data,
)
from quasarloop.campaign.steps.redshifts import label_before, reference_files
from quasarloop.classes import Thresholds
from quasarloop.engine import run_tasks
from quasarloop.errors import CampaignError, TruthError
from quasarloop.evaluate.candidates import completeness_draws
from quasarloop.evaluate.judge import FIXED_PURITIES, Judgement, judge_finds, judgement_record
from quasarloop.evaluate.metrics import completeness_at_purity
from quasarloop.evaluate.oscillation import Oscillation, oscillation_of_best_lines
from quasarloop.network.config import NetworkConfig
from quasarloop.network.decode import LineOutputs, best_lines, decode
from quasarloop.network.labelled import TrainingData, label_spectra
from quasarloop.network.options import Device
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import read_thresholds, read_weights
from quasarloop.store import iter_store
from quasarloop.tables import write_table
from quasarloop.truth import SpecType

__all__ = ["AGAIN", "EVALUATION", "SAMPLES", "read_judgements", "read_numbers"]

NUMBERS_NAME: Final = "numbers.json"
_TRUE_Z: Final = "Z_TRUE"
# Samples the networks are judged on; the final one saw the validation set in training.
SAMPLES: Final = ("validation", "test")
# Smaller truth sets drawn again to the size of the newest: set → completeness at the fixed purities
# of every head, on the test spectra if there are any.
AGAIN: Final = "drawn again"


def read_judgements(context: Context, sample: str) -> dict[str, Judgement]:
    """Judge again from the networks' predictions; empty where the sample does not exist."""
    return {
        name: judge_finds(
            confidence,
            z,
            rows["SPECTYPE"].to_numpy(),
            rows[_TRUE_Z].to_numpy(),
            thresholds=_thresholds(context, name),
        )
        for name, rows, confidence, z in _predictions(context, sample)
    }


def read_numbers(context: Context, sample: str) -> dict[str, Any]:
    """Read the numbers of every network, or of `AGAIN`; empty where there are none."""
    numbers = read_manifest(context.step_folder("evaluation") / NUMBERS_NAME)
    return dict(numbers.get(sample, {}))


def _run(context: Context) -> None:
    folder, networks = context.step_folder("evaluation"), context.step_folder("networks")
    names = list(read_manifest(networks / SETS_NAME)["sizes"])
    if label_before(context.config) not in names:
        names.append(label_before(context.config))
    validation, test = validation_data(context), _test_data(context)
    held_out = {"validation": validation} | ({} if test is None else {"test": test})
    last, again = list(held_out)[-1], _bootstraps(context)
    judged = {"validation": [name for name in names if name != FINAL], "test": names}
    copies = list(chain.from_iterable(again.values()))
    outputs: dict[str, dict[str, pl.DataFrame]] = {sample: {} for sample in held_out}

    def take(_: _Group, found: dict[str, dict[str, pl.DataFrame]]) -> None:
        for sample, frames in found.items():
            outputs[sample].update(frames)

    run_tasks(
        _outputs,
        _sharing_trunks({name: _file(context, name) for name in names + copies}),
        engine=engine_of(context),
        shared=(held_out, device_of(context)),
        name_of=lambda group: f"predicting with {', '.join(name for name, _ in group)}",
        on_result=take,
        keep=False,
    ).complete()
    for sample, found in outputs.items():
        frames = [found[name] for name in judged[sample]]
        write_table(pl.concat(frames), folder / f"{sample}.parquet", statistics=False)
    numbers = {
        sample: {
            name: judgement_record(judgement)
            for name, judgement in read_judgements(context, sample).items()
        }
        for sample in SAMPLES
    }
    for sample, by_name in numbers.items():
        for name, clumping in _oscillations(context, sample).items():
            by_name[name]["oscillation_kms"] = clumping.half_amplitude_kms
            by_name[name]["oscillation_error_kms"] = clumping.error_kms
            by_name[name]["oscillation_noise_kms"] = clumping.noise_kms
        for name, errors in _errors_at_purity(context, sample).items():
            by_name[name] |= errors
    drawn_again = {
        name: [_at_purities(context, copy, outputs[last][copy]) for copy in copies]
        for name, copies in again.items()
    }
    write_manifest(folder / NUMBERS_NAME, {**numbers, AGAIN: drawn_again})
    for sample, by_name in numbers.items():
        for name, record in by_name.items():
            complete, pure = record["completeness"]["value"], record["purity"]["value"]
            pure_text = "–" if pure is None else f"{pure:.3f}"
            context.report(f"{sample}, {name}: complete {complete:.3f}, pure {pure_text}")


def _bootstraps(context: Context) -> dict[str, list[str]]:
    """Return the heads on smaller truth sets that were drawn to equal size (`AGAIN`)."""
    folder = context.step_folder("networks")
    if not (folder / f"{START}.h5").is_file():
        return {}
    return {
        (name := set_name(k)): [p.stem for p in sorted(folder.glob(f"{name}-bootstrap-*.h5"))]
        for k in range(context.round_number)
    }


_Group = tuple[tuple[str, Path], ...]  # names and files of networks


def _sharing_trunks(files: Mapping[str, Path]) -> list[_Group]:
    """Group networks by the trunk that their heads are on; others are their own."""
    groups: dict[str, list[tuple[str, Path]]] = {}
    for name, path in files.items():
        weights = read_weights(path)
        trunk = weights.provenance.get("head", {}).get("trunk") or weights.digest()
        groups.setdefault(trunk, []).append((name, path))
    return [tuple(group) for group in groups.values()]


def _file(context: Context, name: str) -> Path:
    """Return the weights file of a network: of this round, or the one the survey uses today."""
    if name == label_before(context.config) and (files := reference_files(context)):
        return files[0]
    return context.step_folder("networks") / f"{name}.h5"


def _oscillations(context: Context, sample: str) -> dict[str, Oscillation]:
    """Measure how redshifts clump in the boxes, network by network; too few found: left out."""
    found: dict[str, Oscillation] = {}
    network = None  # all have one layout
    for name, rows, confidence, z in _predictions(context, sample):
        network = network or read_weights(_file(context, name)).config
        lines = [line for line in network.lines if not line.is_bal]
        thresholds = _thresholds(context, name)
        best = best_lines(confidence, z, thresholds.n_lines)
        right = thresholds.is_quasar(best.confidence) & (
            rows["SPECTYPE"].to_numpy() == SpecType.QSO
        )
        with suppress(TruthError):
            found[name] = oscillation_of_best_lines(
                best.z[right],
                rows[_TRUE_Z].to_numpy()[right],
                best.line[right],
                lines,
                network.grid,
                network.n_boxes,
            )
    return found


def _errors_at_purity(context: Context, sample: str) -> dict[str, dict[str, Any]]:
    """Return 1 σ of completeness at the fixed purities, and what it is above other networks.

    Those others are the weights in use and new labels at random; errors are of one bootstrap over
    objects for all.
    """
    confidence = {}
    for name, rows, of_lines, z in _predictions(context, sample):
        best = best_lines(of_lines.astype(np.float64), z, _thresholds(context, name).n_lines)
        confidence[name] = best.confidence
        is_qso, object_id = rows["SPECTYPE"].to_numpy() == SpecType.QSO, rows["OBJECT_ID"]
    if not confidence or is_qso.all() or not is_qso.any():
        return {}
    seed = seed_number(context, Stream.VALIDATION, 2, round_number=EVERY_ROUND)
    draws = completeness_draws(confidence, is_qso, object_id.to_numpy(), seed=seed)
    others = [name for name in (label_before(context.config), CONTROL) if name in draws]

    def by_purity(values: NDArray[np.float64]) -> dict[str, float]:
        return {str(p): float(v) for p, v in zip(FIXED_PURITIES, values, strict=True)}

    return {
        name: {
            "completeness_at_purity_error": by_purity(own[:, 1:].std(axis=1)),
            "above": {
                other: {
                    "completeness_at_purity": by_purity((own - draws[other])[:, 0]),
                    "error": by_purity((own - draws[other])[:, 1:].std(axis=1)),
                }
                for other in others
            },
        }
        for name, own in draws.items()
    }


def _at_purities(context: Context, name: str, rows: pl.DataFrame) -> list[float]:
    """Return completeness of one network at the fixed purities."""
    confidence, z = _of_lines(rows)
    best = best_lines(confidence.astype(np.float64), z, _thresholds(context, name).n_lines)
    is_qso = rows["SPECTYPE"].to_numpy() == SpecType.QSO
    return [float(completeness_at_purity(best.confidence, is_qso, p)) for p in FIXED_PURITIES]


def _predictions(
    context: Context, sample: str
) -> Iterator[tuple[str, pl.DataFrame, NDArray[np.float32], NDArray[np.float32]]]:
    """Yield name, rows, confidences and redshifts (n, n_lines) of every network."""
    path = context.step_folder("evaluation") / f"{sample}.parquet"
    if path.is_file():
        for (name,), rows in pl.read_parquet(path).group_by("NETWORK", maintain_order=True):
            yield str(name), rows, *_of_lines(rows)


def _of_lines(rows: pl.DataFrame) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return confidences and redshifts (n, n_lines), without the true redshift."""
    names = [name for name in rows.columns if name != _TRUE_Z]
    confidence, z = (
        rows.select(name for name in names if name.startswith(f"{part}_")).to_numpy()
        for part in ("C", "Z")
    )
    return confidence, z


def _thresholds(context: Context, name: str) -> Thresholds:
    return thresholds_of(context.config).over(read_thresholds(_file(context, name)))


def _outputs(
    group: _Group, shared: tuple[Mapping[str, TrainingData], Device]
) -> dict[str, dict[str, pl.DataFrame]]:
    """Predict every sample with networks that share a trunk: sample → network → outputs."""
    samples, device = shared
    networks = {name: read_weights(path) for name, path in group}
    predictor = Predictor(networks[group[0][0]], device)
    return {
        sample: {
            name: _table(name, data, outputs, predictor.config)
            for name, outputs in predictor.predict_heads(data.flux, networks)
        }
        for sample, data in samples.items()
    }


def _table(
    name: str, data: TrainingData, outputs: LineOutputs, config: NetworkConfig
) -> pl.DataFrame:
    finds = decode(outputs, config)
    lines = [(i, line) for i, line in enumerate(config.lines) if not line.is_bal]
    return pl.DataFrame(
        {
            "NETWORK": [name] * len(data),
            "OBJECT_ID": data.object_id,
            "SPECTYPE": data.spectype,
            _TRUE_Z: data.z,
            **{f"C_{line.column}": finds.confidence[:, i].astype(np.float32) for i, line in lines},
            **{f"Z_{line.column}": finds.z[:, i].astype(np.float32) for i, line in lines},
        }
    )


def _test_data(context: Context) -> TrainingData | None:
    store = test_store(context)
    if store is None or not context.config.evaluation.test:
        return None
    truth = configured_truth(context, context.config.evaluation.test_truth)
    if truth is None:
        raise CampaignError("test spectra without truth: name it under [evaluation] test_truth")
    return label_spectra(iter_store(store), truth)[0]


EVALUATION = Step(
    "evaluation",
    "Judge the networks",
    _run,
    lambda config: {
        name: getattr(config.evaluation, name) for name in ("threshold", "test", "test_truth")
    },
    needs=("ingest", "truth", "networks"),
    files=lambda context: [
        *context.resolve(context.config.evaluation.test_truth),
        *reference_files(context),
    ],
)
