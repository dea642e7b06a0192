"""Run commands on damaged files, each in a process of its own with limits, and judge the end."""

import multiprocessing
import os
import re
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tests.fuzz.mutate import damage
from tests.fuzz.sound import TARGETS, Target, make_sound, place

SEED = 20_261_128
SECONDS = 60  # of a processor: a busy machine is no fault
_HANGS = 20 * SECONDS  # by the clock
MEMORY = 2 << 30  # bytes above those of the process that has only imported
CONFIDENCE = 0.05
# Loaded once, before every case's process is forked from the server: what starts no threads.
_PRELOAD = [
    *("torch", "polars", "matplotlib.figure", "astropy.io.ascii", "sqlalchemy.orm"),
    *("quasarloop.cli", "quasarloop.query.select", "quasarloop.catalogue.classify"),
    *("quasarloop.ensemble.vote", "quasarloop.inspect.exchange", "tests.fuzz.harness"),
]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int | None
    seconds: float
    megabytes: float
    output: str

    def fault(self, *names: str) -> str:
        """What is wrong with it, empty if nothing; an error has to contain one of the names."""
        text = " ".join(self.output.split())
        status = -9 if self.status is None else self.status
        named = any(name in text for name in names)
        found = re.search(r"unexpected (\w+: .{0,90})", text)
        faults = {
            f"killed: {status}": status < 0,
            f"unexpected {found[1] if found else ''}": found is not None,
            f"traceback: {text[-200:]}": "Traceback" in text or "panicked" in text,
            "memory": "not enough memory" in text or self.megabytes * 1e6 > MEMORY,
            f"status: {status}": status not in (0, 1),
            f"names no file: {text[-250:]}": status == 1 and not named,
        }
        return next((fault for fault, is_so in faults.items() if is_so), "")


@dataclass(frozen=True)
class Result:
    """How a case ended: ``fault`` is empty where all is well."""

    number: int
    target: Target
    fault: str
    ended: Ended


def run_cases(sound: Path, numbers: Iterable[int], keep: Path | None = None) -> Iterator[Result]:
    """Run cases; each of them depends on its number alone."""
    for number in numbers:
        rng = np.random.default_rng([SEED, number])
        target = TARGETS[number % len(TARGETS)]
        with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
            folder = Path(name)
            file = place(sound, folder, target, rng)
            damage(file, target.kind, rng)
            if keep is not None:
                shutil.copytree(folder, keep, dirs_exist_ok=True)
            ended = run_command(folder, target.command)
            parents = [parent.name for parent in file.relative_to(folder).parents if parent.name]
            fault = ended.fault(file.name, file.stem, *parents)
            if not fault and ended.status == 0 and target.values:
                fault = _wrong_values(sound, folder, target)
        yield Result(number, target, fault, ended)


def run_command(folder: Path, command: str) -> Ended:
    """Run a command in a folder, in a process of its own with limits of time and memory."""
    log = folder / ".log"
    process = _context().Process(target=_child, args=(folder, command, log))
    process.start()
    process.join(_HANGS)
    if process.exitcode is None:
        process.kill()
        process.join()
    text = log.read_text(errors="replace") if log.exists() else ""
    used = re.search(r"\nused (\d+) kB, ([0-9.]+) s\n?$", text)
    kilobytes, seconds = used.groups() if used else ("0", "0")
    return Ended(process.exitcode, float(seconds), int(kilobytes) / 1e3, text)


def _context() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    return context


def _child(folder: Path, command: str, log: Path) -> None:
    from quasarloop.cli import main

    _check_server()
    os.chdir(folder)
    with log.open("w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    before = _kilobytes("VmSize") * 1024
    resource.setrlimit(resource.RLIMIT_AS, (before + MEMORY, before + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resident = _kilobytes("VmRSS")
    sys.argv = ["quasarloop", *command.split()]
    try:
        main()
    finally:
        sys.stdout.flush()
        used = f"\nused {_kilobytes('VmHWM') - resident} kB, {time.process_time():.2f} s\n"
        os.write(1, used.encode())


def _check_server() -> None:
    """A module that uses polars while it is imported would let every forked process hang."""
    threads = Path(f"/proc/{os.getppid()}/task").glob("*/comm")
    if "polars-0" in [path.read_text().strip() for path in threads]:
        raise RuntimeError("a module of _PRELOAD uses polars when imported; leave it out")


def _kilobytes(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) if found else 0


def _wrong_values(sound: Path, folder: Path, target: Target) -> str:
    """Confidences of rows without a new flag, against those of the sound file."""
    import pyarrow.parquet as pq

    reference = sound / f".answers-{TARGETS.index(target)}.parquet"
    a, b = (pq.read_table(path) for path in (reference, folder / "out.parquet"))
    if len(a) != len(b):
        return f"{len(b)} rows of {len(a)}, no error"
    same = a["FLAGS"].to_numpy() == b["FLAGS"].to_numpy()
    names = [name for name in a.column_names if name.startswith("C_")]
    off = [np.abs(np.nan_to_num(a[n].to_numpy()) - np.nan_to_num(b[n].to_numpy())) for n in names]
    worst = np.max(off, axis=0) * same
    if (worst > CONFIDENCE).any():
        return f"values: {int((worst > CONFIDENCE).sum())} rows off by up to {worst.max():.2f}"
    return ""


def prepare(folder: Path, *, campaign: bool) -> Path:
    """Make the sound files and the sound answers, in a process of its own."""
    maker = _context().Process(target=_prepare, args=(folder, campaign))
    maker.start()
    maker.join()
    if maker.exitcode:
        raise RuntimeError("the sound files could not be made")
    return folder


def _prepare(folder: Path, campaign: bool) -> None:
    _check_server()
    from tests.fuzz.sound import run

    make_sound(folder, campaign=campaign)
    for number, target in enumerate(TARGETS):
        if not target.values:
            continue
        with tempfile.TemporaryDirectory() as name:
            place(folder, Path(name), target, np.random.default_rng(0))
            os.chdir(name)
            run(target.command)
            shutil.copyfile("out.parquet", folder / f".answers-{number}.parquet")
