"""State is only files: a round is a folder, a step is done when its manifest is there."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final

from quasarloop.artefacts import checksum, read_manifest, versions, write_manifest
from quasarloop.campaign.config import CampaignOptions
from quasarloop.engine import Engine
from quasarloop.errors import CampaignError, DataFormatError

__all__ = [
    "MANIFEST",
    "Context",
    "Step",
    "StepState",
    "Waiting",
    "damaged_files",
    "finish_step",
    "read_step",
    "round_folder",
    "round_numbers",
    "step_origin",
    "step_state",
]

MANIFEST: Final = "manifest.json"
_ROUNDS: Final = "rounds"


class Waiting(CampaignError):  # noqa: N818 -- not a fault: the campaign waits for people
    """The loop cannot go on by itself; the message names what people have to do."""


class StepState(Enum):
    """State of a step."""

    MISSING = "to do"
    DONE = "done"
    STALE = "stale"


@dataclass(frozen=True)
class Context:
    """Folder, options and round that a step works with.

    Attributes:
        folder: the campaign's folder.
        config: its options.
        round_number: from 1.
        report: takes a line of progress for people.
        engine: where tasks run; its workers stay from step to step.
    """

    folder: Path
    config: CampaignOptions
    round_number: int
    report: Callable[[str], None] = lambda _: None
    engine: Engine = field(default_factory=Engine)

    def step_folder(self, name: str, round_number: int | None = None) -> Path:
        """Return the folder of a step in this round, or in another."""
        return round_folder(self.folder, round_number or self.round_number) / name

    def store_folder(self, name: str) -> Path:
        """Return the folder of the store ``pool``, ``labelled``, ``borrowed`` or ``test``."""
        return self.folder / "stores" / name

    def resolve(self, paths: Sequence[str]) -> list[Path]:
        """Return configured paths, relative ones taken from the campaign's folder."""
        return [self.folder / path for path in paths]


@dataclass(frozen=True)
class Step:
    """One arrow of the loop.

    Attributes:
        name: its folder's name.
        title: for people.
        run: does the work inside the step's folder; safe to run again after a kill.
        options: those its result depends on.
        needs: steps of the same round whose results it reads.
        files: external inputs whose change makes it stale.
    """

    name: str
    title: str
    run: Callable[[Context], None]
    options: Callable[[CampaignOptions], Mapping[str, Any]]
    needs: tuple[str, ...] = ()
    files: Callable[[Context], Sequence[Path]] = lambda _: ()


def round_folder(folder: Path, number: int) -> Path:
    """Return the folder of a round."""
    return folder / _ROUNDS / f"{number:02d}"


def round_numbers(folder: Path) -> list[int]:
    """Return the rounds begun so far, in order."""
    return sorted(int(path.name) for path in (folder / _ROUNDS).glob("[0-9][0-9]") if path.is_dir())


def step_state(step: Step, context: Context) -> tuple[StepState, str]:
    """Return the state of a step, and for `StepState.STALE` the names of what differs.

    Raises:
        CampaignError: a step before it, or an outside file, is missing.
    """
    path = context.step_folder(step.name) / MANIFEST
    if not path.is_file():
        return StepState.MISSING, ""
    written = read_step(path)
    now = step_origin(step, context)
    changed = [key for key in now if written.get("origin", {}).get(key) != now[key]]
    return (StepState.STALE, _explain(changed, written, now)) if changed else (StepState.DONE, "")


def finish_step(step: Step, context: Context, origin: Mapping[str, Any]) -> None:
    """Write the manifest that makes a step done: options, inputs, versions, all its files.

    `origin` is that of before the step ran: an input changed meanwhile makes it stale.
    """
    folder = context.step_folder(step.name)
    files = {
        str(path.relative_to(folder)): checksum(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST and not path.name.startswith(".")
    }
    write_manifest(
        folder / MANIFEST,
        {
            "step": step.name,
            "round": context.round_number,
            "origin": dict(origin),
            "files": files,
            "versions": versions(),
        },
    )


def damaged_files(folder: Path) -> list[str]:
    """Recompute the checksums of every finished step; return files that differ or are gone."""
    bad = []
    for path in sorted(folder.rglob(MANIFEST)):
        try:
            files = read_step(path)["files"]
        except (CampaignError, DataFormatError) as exc:
            bad.append(str(exc))
            continue
        for name, expected in files.items():
            file = path.parent / name
            if not file.is_file():
                bad.append(f"{file}: gone")
            elif checksum(file) != expected:
                bad.append(f"{file}: changed since it was written")
    return bad


def read_step(path: Path) -> dict[str, Any]:
    """Read the manifest of a step.

    Raises:
        CampaignError: not one that `finish_step` wrote.
    """
    content = read_manifest(path)
    origin, files = content.get("origin"), content.get("files")
    if not (
        isinstance(files, dict)
        and isinstance(origin, dict)
        and isinstance(origin.get("settings"), dict)
    ):
        raise CampaignError(
            f"{path} is not the manifest of a step (origin, its settings and files must be "
            "objects); delete it, and run the campaign again"
        )
    return content


def step_origin(step: Step, context: Context) -> dict[str, Any]:
    """Return all a step's result depends on: options, steps before it, outside files."""
    options = json.dumps(step.options(context.config), sort_keys=True, default=str)
    origin: dict[str, Any] = {"settings": json.loads(options)}
    for name in step.needs:
        manifest = context.step_folder(name) / MANIFEST
        if not manifest.is_file():
            raise CampaignError(f"step {step.name} needs {name}, whose {manifest} is missing")
        # Only what the step before made counts, not when or how often it ran.
        origin[f"step {name}"] = _digest(read_step(manifest)["files"])
    for file in step.files(context):
        inside = file.is_relative_to(context.folder)
        origin[f"file {file.relative_to(context.folder) if inside else file}"] = _file_digest(file)
    return origin


def _explain(changed: Sequence[str], written: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    words = []
    for key in changed:
        if key == "settings":
            old = written.get("origin", {}).get("settings", {})
            words += [
                f"{name} {old.get(name)!r} -> {value!r}"
                for name, value in now["settings"].items()
                if old.get(name) != value
            ]
        else:
            words.append(key)
    return ", ".join(words)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    if not path.exists():
        raise CampaignError(f"{path} is missing; it is named in campaign.toml")
    if path.is_file():
        return checksum(path)
    # A folder counts by names, sizes and times of change, as an ingest does: reading millions of
    # spectra at every start is too slow. Files that only look new are found to be the same when
    # they are brought in, and no later step is made again.
    try:
        files = [(file, file.stat()) for file in sorted(path.rglob("*")) if file.is_file()]
    except OSError as exc:
        raise CampaignError(
            f"{exc.filename or path}: cannot be looked at ({exc.strerror}); if files are moved "
            "just now, start again when that is done"
        ) from exc
    return _digest([(str(f.relative_to(path)), s.st_size, s.st_mtime_ns) for f, s in files])
