"""An ensemble on disk: weights files of its networks, or of one network and heads on it.

A manifest lists the files in order. Of both kinds the members are `Weights` once they are read.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from quasarloop.artefacts import checksum, read_manifest, versions, write_manifest
from quasarloop.classes import ThresholdOptions, Thresholds
from quasarloop.ensemble.heads import Heads, PriorWidths, Standard, fold_head
from quasarloop.errors import WeightsError, reading
from quasarloop.network.config import NetworkConfig, config_from_dict, config_to_dict
from quasarloop.network.weights import Weights, read_thresholds, read_weights

__all__ = [
    "HEADS",
    "MANIFEST",
    "Ensemble",
    "EnsembleKind",
    "check_members",
    "load_heads",
    "load_members",
    "member_path",
    "member_thresholds",
    "open_ensemble",
    "write_ensemble_manifest",
]

MANIFEST: Final = "ensemble.json"
HEADS: Final = "heads.npy"
EnsembleKind = Literal["networks", "heads"]
_FORMAT: Final = 1


@dataclass(frozen=True)
class Ensemble:
    """A finished ensemble.

    Attributes:
        folder: where it is.
        members: weights files, in order; of heads the one network they share, their trunk.
        checksums: SHA-256 of each file.
        config: the configuration all members share.
        record: the whole manifest.
    """

    folder: Path
    members: tuple[Path, ...]
    checksums: tuple[str, ...]
    config: NetworkConfig
    record: dict[str, Any]

    def __len__(self) -> int:
        """Return the number of members."""
        return int(self.record["n_networks"])

    def __repr__(self) -> str:
        """Return one line: the manifest is not printed."""
        return f"Ensemble({len(self)} {self.kind} in {self.folder})"

    @property
    def kind(self) -> EnsembleKind:
        """Whether members are whole networks, or heads on one."""
        return "heads" if self.record.get("kind") == "heads" else "networks"

    @property
    def identity(self) -> str:
        """SHA-256 of the manifest, which holds those of all members."""
        return checksum(self.folder / MANIFEST)


def member_path(folder: Path, index: int) -> Path:
    """Return the path of member ``index`` of an ensemble, there or not."""
    return folder / "members" / f"{index:04d}.h5"


def write_ensemble_manifest(
    folder: Path,
    config: NetworkConfig,
    members: list[dict[str, Any]],
    record: dict[str, Any],
    n_networks: int | None = None,
) -> Ensemble:
    """Write the manifest that makes a folder of weights an ensemble.

    Members have an entry each, in order: ``file`` (relative to the folder), ``sha256``, and
    whatever else is known; `record` is how they were made: seed, options, checksums of the input.
    Heads have one entry, their trunk's, and are `n_networks`.
    """
    content = {
        **record,
        "format": _FORMAT,
        "n_networks": len(members) if n_networks is None else n_networks,
        "members": members,
        "config": config_to_dict(config),
        "versions": versions(),
    }
    write_manifest(folder / MANIFEST, content)
    return open_ensemble(folder)


def open_ensemble(folder: str | Path) -> Ensemble:
    """Open an ensemble.

    Raises:
        WeightsError: no finished ensemble there, or one of another format.
    """
    root = Path(folder)
    path = root / MANIFEST
    if not path.exists():
        raise WeightsError(
            f"{root} is no finished ensemble (no {MANIFEST}); run `quasarloop ensemble train` "
            "with the same options again to finish it"
        )
    remedy = "restore it, or train the ensemble again"
    with reading(path, "the manifest of an ensemble", remedy, WeightsError):
        record = read_manifest(path)
        if record.get("format") != _FORMAT:
            raise WeightsError(
                f"{path}: ensemble format {record.get('format')!r}; this version reads {_FORMAT}"
            )
        members = tuple(root / entry["file"] for entry in record["members"])
        checksums = tuple(str(entry["sha256"]) for entry in record["members"])
        config = config_from_dict(record["config"])
        record["n_networks"]
        if not all(isinstance(record.get(key, {}), dict) for key in ("training", "versions")):
            raise WeightsError(f"{path}: training and versions must be objects; {remedy}")
    if not members:
        raise WeightsError(f"{path} lists no member; train at least one network")
    return Ensemble(root, members, checksums, config, record)


def load_members(ensemble: Ensemble, n_members: int | None = None) -> list[Weights]:
    """Read the weights of the first members, in order, and check each against the manifest.

    Raises:
        WeightsError: a file is missing, differs from the manifest, or has another configuration.
    """
    if ensemble.kind == "heads":
        trunk, heads = load_heads(ensemble)
        return [fold_head(trunk, heads, index) for index in range(len(heads))[:n_members]]
    return _load(ensemble, n_members)


def check_members(ensemble: Ensemble) -> None:
    """Check that the files of all members are there and as the manifest has them.

    Raises:
        WeightsError: a file is missing, or differs from the manifest.
    """
    for path, expected in zip(ensemble.members, ensemble.checksums, strict=True):
        _unchanged(ensemble, path, expected)


def load_heads(ensemble: Ensemble) -> tuple[Weights, Heads]:
    """Read an ensemble of heads: their trunk, and the heads.

    Raises:
        WeightsError: an ensemble of whole networks, or as `load_members`.
    """
    if ensemble.kind != "heads":
        raise WeightsError(f"{ensemble.folder} is an ensemble of whole networks; expected heads")
    manifest, remedy = ensemble.folder / MANIFEST, "restore it, or train the ensemble again"
    with reading(manifest, "the manifest of heads", remedy, WeightsError):
        stored = ensemble.record["heads"]
        path = _unchanged(ensemble, ensemble.folder / HEADS, stored["sha256"])
        standard = Standard(*(np.array(stored[name]) for name in ("mean", "factor")))
        table = np.load(path, allow_pickle=False)
        heads = Heads(table, standard, PriorWidths(**stored["widths"]), stored["n_lines"])
    return _load(ensemble, None)[0], heads


def _load(ensemble: Ensemble, n_members: int | None) -> list[Weights]:
    loaded = []
    chosen = list(zip(ensemble.members, ensemble.checksums, strict=True))[:n_members]
    for path, expected in chosen:
        weights = read_weights(_unchanged(ensemble, path, expected))
        if weights.config.lines != ensemble.config.lines or not weights.config.grid.matches(
            ensemble.config.grid
        ):
            raise WeightsError(f"{path} has other lines or another grid than its ensemble")
        loaded.append(weights)
    return loaded


def member_thresholds(ensemble: Ensemble, options: ThresholdOptions) -> Thresholds:
    """Return the thresholds all members have, with those given in their place.

    Raises:
        WeightsError: the members have different ones and none is given, or one is missing.
    """
    used = [options.over(read_thresholds(_present(path))) for path in ensemble.members]
    for path, thresholds in zip(ensemble.members, used, strict=True):
        if thresholds != used[0]:
            raise WeightsError(
                f"{ensemble.folder}: its members have different thresholds, {used[0].to_dict()} in "
                f"{ensemble.members[0].name} and {thresholds.to_dict()} in {path.name}; give them "
                "as options"
            )
    n_lines, n_finders = used[0].n_lines, len(ensemble.config.emission_index)
    if n_lines > n_finders:
        raise WeightsError(f"{n_lines} lines must count; the networks find {n_finders}")
    return used[0]


def _unchanged(ensemble: Ensemble, path: Path, expected: str) -> Path:
    if checksum(_present(path)) != expected:
        raise WeightsError(
            f"{path} is not the file the manifest of {ensemble.folder} names (its checksum "
            "differs); restore it, or train the ensemble anew"
        )
    return path


def _present(path: Path) -> Path:
    if not path.exists():
        raise WeightsError(f"{path}: this member of the ensemble is missing; train it again")
    return path
