"""An ensemble on disk: ordinary weights files, and a manifest that lists them in order."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from quasarloop.artefacts import checksum, read_manifest, versions, write_manifest
from quasarloop.classes import ThresholdOptions, Thresholds
from quasarloop.errors import WeightsError
from quasarloop.network.config import NetworkConfig, config_from_dict, config_to_dict
from quasarloop.network.weights import Weights, read_thresholds, read_weights

__all__ = [
    "MANIFEST",
    "Ensemble",
    "load_members",
    "member_path",
    "member_thresholds",
    "open_ensemble",
    "write_ensemble_manifest",
]

MANIFEST: Final = "ensemble.json"
_FORMAT: Final = 1


@dataclass(frozen=True)
class Ensemble:
    """A finished ensemble.

    Attributes:
        folder: where it is.
        members: weights files, in order.
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
        return len(self.members)

    @property
    def identity(self) -> str:
        """SHA-256 of the manifest, which holds those of all members."""
        return checksum(self.folder / MANIFEST)


def member_path(folder: Path, index: int) -> Path:
    """Return the path of member ``index`` of an ensemble, there or not."""
    return folder / "members" / f"{index:04d}.h5"


def write_ensemble_manifest(
    folder: Path, config: NetworkConfig, members: list[dict[str, Any]], record: dict[str, Any]
) -> Ensemble:
    """Write the manifest that makes a folder of weights an ensemble.

    Members have an entry each, in order: ``file`` (relative to the folder), ``sha256``, and
    whatever else is known; `record` is how they were made: seed, options, checksums of the input.
    """
    content = {
        **record,
        "format": _FORMAT,
        "n_networks": len(members),
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
    record = read_manifest(path)
    if record.get("format") != _FORMAT:
        raise WeightsError(
            f"{path}: ensemble format {record.get('format')!r}; this version reads {_FORMAT}"
        )
    try:
        members = tuple(root / entry["file"] for entry in record["members"])
        checksums = tuple(str(entry["sha256"]) for entry in record["members"])
        config = config_from_dict(record["config"])
    except (KeyError, TypeError) as exc:
        raise WeightsError(f"{path} is not a whole ensemble manifest: {exc} is missing") from exc
    if not members:
        raise WeightsError(f"{path} lists no member; train at least one network")
    return Ensemble(root, members, checksums, config, record)


def load_members(ensemble: Ensemble, n_members: int | None = None) -> list[Weights]:
    """Read the weights of the first members, in order, and check each against the manifest.

    Raises:
        WeightsError: a file is missing, differs from the manifest, or has another configuration.
    """
    loaded = []
    chosen = list(zip(ensemble.members, ensemble.checksums, strict=True))[:n_members]
    for path, expected in chosen:
        if checksum(_present(path)) != expected:
            raise WeightsError(
                f"{path} is not the file the manifest of {ensemble.folder} names (its checksum "
                "differs); restore it, or train the ensemble anew"
            )
        weights = read_weights(path)
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


def _present(path: Path) -> Path:
    if not path.exists():
        raise WeightsError(f"{path}: this member of the ensemble is missing; train it again")
    return path
