"""One row per spectrum, in order, from files and stores alike; real quasars are found."""

import json
import shutil
from dataclasses import replace

import fitsio
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from astropy.io import fits

from quasarloop.catalogue.classify import ClassifyOptions, classify_to_file, read_catalogue
from quasarloop.errors import DataFormatError, GridError, OutputError
from quasarloop.grid import LINEAR_GRID
from quasarloop.network.config import preset
from quasarloop.network.model import LineFinder
from quasarloop.network.weights import Weights, from_module, write_weights
from quasarloop.spectra import Flag
from quasarloop.store import ingest
from quasarloop.tables import read_record
from quasarloop.truth import match_truth


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small untrained network: what it says does not matter, where it says it does."""
    torch.manual_seed(1)
    config = preset("green2025", n_filters=4, n_dense=8)
    path = tmp_path_factory.mktemp("weights") / "w.h5"
    write_weights(from_module(LineFinder(config)), path)
    return path


@pytest.fixture(scope="module")
def coadd(shared_data):
    return shared_data / "quasarnp_fixture" / "test_coadd.fits"


def test_rows_in_order_and_unusable_ones_kept(tmp_path, weights, coadd):
    summary = classify_to_file([coadd], tmp_path / "c.parquet", weights=weights)
    block = read_catalogue(tmp_path / "c.parquet")
    assert summary.n_spectra == len(block["ROW"]) == 25
    assert block["ROW"].tolist() == list(range(25))
    empty = (block["FLAGS"] & Flag.NO_DATA) != 0
    assert empty.sum() == 1  # one row of the file has no ivar at all
    assert not block["IS_QSO"][empty].any()
    assert block["CLASS"][empty].tolist() == ["NOT_QSO"]
    assert np.isnan(block["C_LYA"][empty]).all()
    assert np.isnan(block["Z_BEST"][empty]).all()
    assert np.isfinite(block["C_LYA"][~empty]).all()


def test_store_and_files_give_the_same_catalogue(tmp_path, weights, coadd):
    ingest([coadd], tmp_path / "store")
    for name, paths in (("files", [coadd]), ("store", [tmp_path / "store"])):
        classify_to_file(paths, tmp_path / f"{name}.parquet", weights=weights)
    a, b = (read_catalogue(tmp_path / f"{name}.parquet") for name in ("files", "store"))
    for name in a:
        if a[name].dtype.kind == "f":
            np.testing.assert_allclose(a[name], b[name], rtol=1e-5, atol=1e-6)
        elif name != "SOURCE":
            assert a[name].tolist() == b[name].tolist(), name


def test_outliers_are_mended_and_corrupted_spectra_are_no_quasars(tmp_path, weights, coadd):
    with fits.open(coadd) as hdus:
        hdus["R_FLUX"].data[1, 700] = 1e4
        hdus["R_IVAR"].data[2, 700] = 1e12
        hdus["R_FLUX"].data[3] = 1e8
        hdus.writeto(tmp_path / "coadd.fits")
    everything = ClassifyOptions(threshold=0.0)
    blocks = {}
    for name, path in (("sound", coadd), ("hit", tmp_path / "coadd.fits")):
        classify_to_file([path], tmp_path / f"{name}.fits", weights=weights, options=everything)
        blocks[name] = read_catalogue(tmp_path / f"{name}.fits")
    sound, hit = blocks["sound"], blocks["hit"]
    outlier = Flag.OUTLIER_PIXELS
    assert (hit["FLAGS"] - sound["FLAGS"])[:3].tolist() == [0, outlier, outlier]
    others = [0, *range(4, 25)]
    np.testing.assert_allclose(hit["C_LYA"][others], sound["C_LYA"][others], atol=1e-6)
    np.testing.assert_allclose(hit["C_LYA"][1:3], sound["C_LYA"][1:3], atol=0.02)
    assert hit["FLAGS"][3] & Flag.CORRUPTED
    assert (sound["IS_QSO"][3], hit["IS_QSO"][3], hit["CLASS"][3]) == (True, False, "NOT_QSO")
    assert np.isnan(hit["C_LYA"][3])


def test_a_store_must_have_been_mended_as_wanted(tmp_path, weights, coadd):
    kept = ClassifyOptions(mend_outliers=False)
    ingest([coadd], tmp_path / "store")
    with pytest.raises(DataFormatError, match="made with --mend-outliers; use it here"):
        classify_to_file([tmp_path / "store"], tmp_path / "c.fits", weights=weights, options=kept)
    ingest([coadd], tmp_path / "kept", mend_outliers=False)
    classify_to_file([tmp_path / "kept"], tmp_path / "c.fits", weights=weights, options=kept)
    assert read_record(tmp_path / "c.fits")["options"]["mend_outliers"] is False


def test_threshold_and_n_lines_decide(tmp_path, weights, coadd):
    counts = []
    for options in (ClassifyOptions(threshold=0.0), ClassifyOptions(threshold=0.0, n_lines=6)):
        made = tmp_path / f"{options.n_lines}.csv"
        counts.append(classify_to_file([coadd], made, weights=weights, options=options).n_quasars)
    assert counts == [24, 24]  # every confidence is above 0
    strict = ClassifyOptions(threshold=1.0)
    made = tmp_path / "strict.csv"
    assert classify_to_file([coadd], made, weights=weights, options=strict).n_quasars == 0
    with pytest.raises(ValueError, match="at least one line"):
        ClassifyOptions(n_lines=0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        ClassifyOptions(threshold=1.2)


def test_broken_file_is_named_and_can_be_skipped(tmp_path, weights, coadd):
    (tmp_path / "in").mkdir()
    shutil.copy(coadd, tmp_path / "in" / "good.fits")
    broken = tmp_path / "in" / "broken.fits"
    broken.write_bytes(coadd.read_bytes()[:50_000])
    files = [tmp_path / "in" / "good.fits", broken]
    with pytest.raises(DataFormatError, match=r"broken\.fits"):
        classify_to_file(files, tmp_path / "c.fits", weights=weights)
    assert not (tmp_path / "c.fits").exists()
    bad = []
    summary = classify_to_file(
        files, tmp_path / "c.fits", weights=weights, on_bad=lambda path, exc: bad.append(path.name)
    )
    assert (summary.n_spectra, bad) == (25, ["broken.fits"])


def test_wrong_grid_and_outputs_are_refused(tmp_path, weights, coadd):
    ingest([coadd], tmp_path / "store", LINEAR_GRID)
    with pytest.raises(GridError, match="ingest the files again"):
        classify_to_file([tmp_path / "store"], tmp_path / "c.fits", weights=weights)
    with pytest.raises(OutputError, match="make it first"):
        classify_to_file([coadd], tmp_path / "no" / "c.fits", weights=weights)
    with pytest.raises(DataFormatError, match="no spectra"):
        classify_to_file([], tmp_path / "c.fits", weights=weights)


def test_provenance_names_weights_and_thresholds(tmp_path, weights, coadd):
    classify_to_file([coadd], tmp_path / "c.fits", weights=weights)
    header = fitsio.read_header(tmp_path / "c.fits", ext=1)
    text = "".join(str(r["value"]) for r in header.records() if r["name"] == "HISTORY")
    provenance = json.loads(text)
    assert provenance["weights"] == "w.h5"
    assert len(provenance["weights_sha256"]) == 64
    assert provenance["options"]["threshold"] == 0.95


def test_real_plate_every_quasar_and_nothing_else(tmp_path, shared_data):
    """boss_plate7102 with QuasarNP's 4-layer weights: 62 of 62, none of 39 others."""
    from quasarloop.read import read_truth

    weights = shared_data / "quasarnp_fixture" / "test_weights.h5"
    plate = shared_data / "boss_plate7102"
    classify_to_file([plate], tmp_path / "c.parquet", weights=weights)
    block = read_catalogue(tmp_path / "c.parquet")
    truth = read_truth(plate / "truth.csv")
    row = match_truth(block["TARGETID"], truth)
    assert len(row) == 101
    assert (row >= 0).all()
    assert block["IS_QSO"].sum() == 62
    np.testing.assert_array_equal(block["IS_QSO"], truth.is_qso[row])
    z_true, z = truth.z[row][block["IS_QSO"]], block["Z_BEST"][block["IS_QSO"]]
    assert np.all(np.abs(z - z_true) < 0.05 * (1 + z_true))


def test_joint_redshifts_stand_beside_the_classic_ones(tmp_path, weights, coadd):
    classify_to_file([coadd], tmp_path / "c.fits", weights=weights)
    block = read_catalogue(tmp_path / "c.fits")
    types = [block[name].dtype.str[1:] for name in ("Z_JOINT", "ZERR_JOINT", "Z_ALT", "P_ALT")]
    assert types == ["f8", "f4", "f8", "f4"]
    empty = (block["FLAGS"] & Flag.NO_DATA) != 0
    for name in ("Z_JOINT", "ZERR_JOINT", "P_ALT"):
        assert np.array_equal(np.isnan(block[name]), empty), name
    assert block["P_ALT"][~empty].max() <= 0.5
    plain = ClassifyOptions(joint=False)
    classify_to_file([coadd], tmp_path / "p.fits", weights=weights, options=plain)
    without = read_catalogue(tmp_path / "p.fits")
    assert set(block) - set(without) == {"Z_JOINT", "ZERR_JOINT", "Z_ALT", "P_ALT"}
    np.testing.assert_array_equal(without["Z_BEST"], block["Z_BEST"])


def test_joint_redshifts_come_from_the_redshift_head_if_the_weights_have_one(tmp_path, coadd):
    config = preset("quasarloop2026", n_filters=4, n_dense=8)
    with_head = from_module(LineFinder(config, torch.Generator().manual_seed(1)))
    shared = {n: a for n, a in with_head.arrays.items() if not n.startswith("redshift_")}
    networks = {"head": with_head, "none": Weights(replace(config, redshift=None), shared)}
    found = {}
    for name, network in networks.items():
        write_weights(network, tmp_path / f"{name}.h5")
        classify_to_file([coadd], tmp_path / f"{name}.parquet", weights=tmp_path / f"{name}.h5")
        found[name] = read_catalogue(tmp_path / f"{name}.parquet")
    head, none = found["head"], found["none"]
    assert np.array_equal(head["Z_BEST"], none["Z_BEST"], equal_nan=True)
    usable = np.isfinite(head["Z_BEST"])
    assert np.array_equal(np.isfinite(head["Z_JOINT"]), usable)
    assert np.all(head["Z_JOINT"][usable] != none["Z_JOINT"][usable])
    stories = {
        name: json.loads(pq.read_schema(tmp_path / f"{name}.parquet").metadata[b"quasarloop"])
        for name in networks
    }
    assert stories["head"]["redshift_head"]["step"] == config.redshift.step
    assert stories["none"]["redshift_head"] is None


def test_real_plate_joint_redshifts_are_right(tmp_path, shared_data):
    """boss_plate7102 with QuasarNP's weights: all 62 right, and less scattered than one line's."""
    from quasarloop.read import read_truth

    weights = shared_data / "quasarnp_fixture" / "test_weights.h5"
    plate = shared_data / "boss_plate7102"
    classify_to_file([plate], tmp_path / "c.parquet", weights=weights)
    block = read_catalogue(tmp_path / "c.parquet")
    truth = read_truth(plate / "truth.csv")
    quasar = block["IS_QSO"]
    z_true = truth.z[match_truth(block["TARGETID"], truth)][quasar]
    one, joint = ((block[c][quasar] - z_true) / (1 + z_true) for c in ("Z_BEST", "Z_JOINT"))
    assert np.abs(joint).max() < 0.05
    assert np.std(joint) < np.std(one)
