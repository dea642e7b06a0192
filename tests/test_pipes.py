"""Pipes, devices and folders are refused at once by every reader: reading a pipe waits for ever."""

import os
from pathlib import Path

import pytest

from quasarloop.afterburner.output import read_output
from quasarloop.afterburner.redrock_file import read_redrock_rows
from quasarloop.artefacts import checksum, read_manifest
from quasarloop.campaign.config_file import read_config
from quasarloop.catalogue.classify import read_catalogue
from quasarloop.errors import QuasarloopError
from quasarloop.inspect.redrock_models import read_redrock
from quasarloop.inspect.worklist import read_worklist
from quasarloop.labels.merge import read_merged
from quasarloop.labels.prospect_csv import read_inspections
from quasarloop.network.weights import read_thresholds, read_weights
from quasarloop.query.som_files import read_map
from quasarloop.query.votes_input import read_target_ids, read_votes_table
from quasarloop.read import content_digest, find_files, read_spectra, read_truth
from quasarloop.simulate.survey import read_survey_file
from quasarloop.store import read_shard

READERS = [
    checksum,
    content_digest,
    read_catalogue,
    read_inspections,
    read_manifest,
    read_map,
    read_merged,
    read_output,
    read_redrock_rows,
    read_shard,
    read_spectra,
    read_survey_file,
    read_thresholds,
    read_truth,
    read_votes_table,
    read_weights,
    read_worklist,
    lambda path: read_redrock([path]),
    lambda path: read_target_ids([path]),
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("what", ["pipe", "device", "folder"])
def test_refused_at_once(tmp_path, read, what):
    path = Path("/dev/zero") if what == "device" else tmp_path / "a.fits"
    if what == "pipe":
        os.mkfifo(path)
    if what == "folder":
        path.mkdir()
    words = "a folder, not a file" if what == "folder" else "a pipe or a device, not a file"
    if what == "folder" and read is read_votes_table:
        words = "holds no finished votes"
    with pytest.raises(QuasarloopError, match=rf"{path.name}.*{words}"):
        read(path)


def test_a_pipe_as_campaign_file_or_in_a_folder_is_refused(tmp_path, spectrum_files):
    os.mkfifo(tmp_path / "campaign.toml")
    with pytest.raises(QuasarloopError, match="a pipe or a device"):
        read_config(tmp_path)
    os.mkfifo(tmp_path / "a.fits")
    sound = spectrum_files.write_coadd(tmp_path / "coadd-1.fits")
    bad, good = find_files([tmp_path])
    assert good == sound
    with pytest.raises(QuasarloopError, match=r"a\.fits.*a pipe or a device"):
        read_spectra(bad)
