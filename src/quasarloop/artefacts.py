"""Files that are whole or not there at all, and manifests of where they came from."""

import errno
import gzip
import hashlib
import io
import json
import logging
import math
import os
import platform
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO, Final

from filelock import SoftFileLock, Timeout

from quasarloop import __version__
from quasarloop.errors import DataFormatError, OutputError, check_regular, reading

__all__ = [
    "check_folder",
    "check_output",
    "checksum",
    "locked_folder",
    "open_input",
    "read_manifest",
    "versions",
    "without_nan",
    "write_atomically",
    "write_manifest",
]

# Packages whose version can change a result.
_RECORDED: Final = ("numpy", "torch", "scipy", "polars", "pyarrow")
_GZIP_MAGIC: Final = b"\x1f\x8b"
# Gzipped files are unpacked in memory, up to this size. Our choice: a few kilobytes can unpack to
# gigabytes, and every worker holds one file.
_MOST_UNPACKED: Final = 1 << 30
_CHUNK_BYTES: Final = 1 << 20
_LOCK: Final = ".lock"
# Long enough to take over what a dead process left, where that takes a second look.
_LOCK_SECONDS: Final = 1.0

log = logging.getLogger(__name__)


@contextmanager
def write_atomically(path: str | Path, *, flush: bool = True) -> Iterator[Path]:
    """Give a temporary path beside ``path``; rename it there once the block ends well.

    The file is flushed to disk before the rename, so a kill or a power cut leaves either the
    old file or the new one. After an error, or on a full disk, the temporary file is removed.

    Args:
        path: of the finished file; its folder must exist.
        flush: False for what can be made again: a kill still leaves either, a power cut may leave
            a damaged one, which its reader has to notice.

    Yields:
        The path to write to: same folder, same suffix, a name starting with a dot.

    Raises:
        OutputError: folder missing or not writable, or the disk is full.
    """
    target = Path(path)
    temporary = _temporary_beside(target)
    try:
        yield temporary
        if flush:
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
        temporary.replace(target)
        if flush:
            _flush_folder(target.parent)
    except OSError as exc:
        raise _output_error(target, exc) from exc
    finally:
        temporary.unlink(missing_ok=True)


def check_output(path: str | Path, *, overwrite: bool = False) -> Path:
    """Check, before long work starts, that a result can be written there.

    Raises:
        OutputError: the folder is missing or not writable, or the file exists and
            ``overwrite`` is False.
    """
    target = Path(path)
    if target.is_dir():
        raise OutputError(f"{target} is a folder; give the name of a file to write")
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists; give another name, or --overwrite to replace it")
    _writable(target.parent, f"cannot write {target}")
    return target


def check_folder(path: str | Path) -> Path:
    """Make a folder for results (parents too) and check that files can be written there.

    Raises:
        OutputError: a file is in the way, or the folder cannot be made or written.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"cannot make the folder {folder}: {exc.strerror}") from exc
    _writable(folder, f"cannot write into {folder}")
    return folder


def open_input(path: str | Path) -> BinaryIO:
    """Open a file for reading; a gzipped one (found from its first bytes) is unpacked in memory.

    Raises:
        OSError: missing, no file, not readable, damaged, or too large when unpacked.
    """
    stream = check_regular(path).open("rb")
    if stream.read(len(_GZIP_MAGIC)) != _GZIP_MAGIC:
        stream.seek(0)
        return stream
    unpacked = io.BytesIO()
    with stream, gzip.GzipFile(fileobj=stream) as packed:
        stream.seek(0)
        try:
            for chunk in iter(partial(packed.read, _CHUNK_BYTES), b""):
                if unpacked.tell() + len(chunk) > _MOST_UNPACKED:
                    size = f"{_MOST_UNPACKED >> 20} MiB"
                    raise OSError(
                        errno.EFBIG, f"unpacks to more than {size}; unpack it with gunzip"
                    )
                unpacked.write(chunk)
        except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
            what = f"gzip data are truncated or damaged ({exc}); copy or download it again"
            raise OSError(errno.EIO, what) from exc
    unpacked.seek(0)
    return unpacked


@contextmanager
def locked_folder(path: str | Path) -> Iterator[None]:
    """Make a folder for results, and keep other commands out of it until the block ends.

    The lock is a file that names a process and its host. What a dead process of this host left is
    taken over.

    Raises:
        OutputError: another command works in the folder, or it cannot be written.
    """
    file = check_folder(path) / _LOCK
    before = _holder(file)
    lock = SoftFileLock(file, timeout=_LOCK_SECONDS)
    try:
        lock.acquire()
    except Timeout as exc:
        raise OutputError(
            f"{path} is in use by {_holder(file)}; wait until it has ended. If it no longer runs, "
            f"delete {file}"
        ) from exc
    except OSError as exc:
        raise _output_error(file, exc) from exc
    if before:
        log.warning("%s was in use by %s, which has ended; going on", path, before)
    try:
        yield
    finally:
        lock.release()


def checksum(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex.

    Raises:
        DataFormatError: the file cannot be read.
    """
    try:
        with check_regular(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as exc:
        raise DataFormatError(f"{path}: cannot be read ({exc.strerror})") from exc


def write_manifest(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a manifest as sorted, indented JSON, atomically: same content, same bytes."""
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    with write_atomically(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_manifest(path: str | Path) -> dict[str, Any]:
    """Read a manifest.

    Raises:
        DataFormatError: missing, unreadable, or not a JSON object.
    """
    if not Path(path).exists():
        raise DataFormatError(f"{path} is missing; was the step that writes it finished?")
    with reading(path, "a manifest", "restore it, or run the step that writes it again"):
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise DataFormatError(
            f"{path} holds a {type(content).__name__}; expected a JSON object: "
            "restore it, or run the step that writes it again"
        )
    return content


def without_nan(value: Any) -> Any:
    """Return None for NaN, which JSON has not, and any other value as it is."""
    return None if isinstance(value, float) and math.isnan(value) else value


def versions() -> dict[str, str]:
    """Return the versions that can change a result: ours, Python's and the libraries'."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    found = {"quasarloop": __version__, "python": platform.python_version()}
    for name in _RECORDED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _temporary_beside(target: Path) -> Path:
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent
        )
    except OSError as exc:
        raise _output_error(target, exc) from exc
    os.close(handle)
    temporary = Path(name)
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o666 & ~umask)  # mkstemp makes files private; results are not
    return temporary


def _holder(lock: Path) -> str:
    """Return process and host of a lock, empty where there is none."""
    try:
        words = lock.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return ""
    return f"process {words[0]} on {words[1]}" if len(words) > 1 else "an unnamed process"


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _writable(folder: Path, complaint: str) -> None:
    if not folder.is_dir():
        raise OutputError(f"{complaint}: the folder {folder} does not exist; make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{complaint}: no permission to write into {folder}")


def _output_error(target: Path, exc: OSError) -> OutputError:
    if exc.errno == errno.ENOSPC:
        remedy = "the disk is full; free some space and run the same command again"
    elif not target.parent.is_dir():
        remedy = f"the folder {target.parent} does not exist; make it first"
    else:
        remedy = exc.strerror or str(exc)
    return OutputError(f"cannot write {target}: {remedy}")
