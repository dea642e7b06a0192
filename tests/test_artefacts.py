"""Whole files or none; manifests that come back as written."""

import errno
import os
import socket
import stat
import subprocess
import sys

import pytest

from quasarloop.artefacts import (
    check_folder,
    check_output,
    checksum,
    locked_folder,
    read_manifest,
    write_atomically,
    write_manifest,
)
from quasarloop.errors import DataFormatError, OutputError


def test_file_appears_only_when_whole(tmp_path):
    target = tmp_path / "a.txt"
    with write_atomically(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
        assert temporary.suffix == ".txt"
    assert target.read_text() == "half"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_error_keeps_the_old_file(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(ValueError, match="boom"), write_atomically(target) as temporary:
        temporary.write_text("new")
        raise ValueError("boom")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_full_disk_names_the_remedy_and_keeps_the_old_file(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(OutputError, match="disk is full"), write_atomically(target):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert target.read_text() == "old"


def test_missing_folder_is_named(tmp_path):
    with (
        pytest.raises(OutputError, match="does not exist; make it first"),
        write_atomically(tmp_path / "nowhere" / "a.txt"),
    ):
        pass


def test_new_file_has_ordinary_permissions(tmp_path):
    umask = os.umask(0o022)
    try:
        with write_atomically(tmp_path / "a.txt") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o644


def test_check_output(tmp_path):
    existing = tmp_path / "a.fits"
    existing.touch()
    with pytest.raises(OutputError, match="--overwrite"):
        check_output(existing)
    assert check_output(existing, overwrite=True) == existing
    with pytest.raises(OutputError, match="does not exist"):
        check_output(tmp_path / "no" / "a.fits")
    with pytest.raises(OutputError, match="is a folder"):
        check_output(tmp_path)


def test_check_folder_makes_parents_and_refuses_files(tmp_path):
    assert check_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot make the folder"):
        check_folder(tmp_path / "file")


def test_checksum_is_sha256(tmp_path):
    file = tmp_path / "abc"
    file.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert checksum(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(DataFormatError, match="cannot be read"):
        checksum(tmp_path / "none")


def test_manifest_round_trip_and_same_bytes(tmp_path):
    content = {"b": [1, 2.5, None], "a": {"z": "Å", "y": True}}
    write_manifest(tmp_path / "1.json", content)
    write_manifest(tmp_path / "2.json", dict(reversed(content.items())))
    assert read_manifest(tmp_path / "1.json") == content
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "is missing"),
        ("{", "cannot be read as a manifest"),
        ("[1]", "expected a JSON object"),
    ],
)
def test_broken_manifests_are_named(tmp_path, text, complaint):
    file = tmp_path / "m.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(DataFormatError, match=complaint) as caught:
        read_manifest(file)
    assert "m.json" in str(caught.value)


def test_a_folder_is_one_commands_at_a_time(tmp_path):
    with locked_folder(tmp_path / "out"):
        words = f"in use by process {os.getpid()} on {socket.gethostname()}; wait until"
        with pytest.raises(OutputError, match=words), locked_folder(tmp_path / "out"):
            pass
    with locked_folder(tmp_path / "out"):
        pass
    assert list((tmp_path / "out").iterdir()) == []


def test_lock_of_a_dead_process_is_reported_and_taken_over(tmp_path, caplog):
    code = (
        "import os; from quasarloop.artefacts import locked_folder\n"
        f"with locked_folder({str(tmp_path)!r}): os._exit(0)"
    )
    dead = subprocess.Popen([sys.executable, "-c", code])
    dead.wait()
    assert len(list(tmp_path.iterdir())) == 1
    with locked_folder(tmp_path):
        pass
    assert f"was in use by process {dead.pid} on " in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_lock_of_another_host_names_the_remedy(tmp_path):
    lock = tmp_path / ".lock"
    lock.write_text("1\nfar.away\n")
    words = f"process 1 on far.away.*delete {lock}"
    with pytest.raises(OutputError, match=words), locked_folder(tmp_path):
        pass
    assert lock.exists()


def test_lock_on_a_full_disk_names_the_remedy(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OutputError, match="the disk is full"), locked_folder(tmp_path):
        pass


def test_a_folder_that_is_removed_while_locked_ends_quietly(tmp_path):
    with locked_folder(tmp_path / "out"):
        (tmp_path / "out" / ".lock").unlink()
        (tmp_path / "out").rmdir()
