"""Whole files: row-matched, of the documented schema, nothing lost, whatever the fault."""

import re
import shutil
import sys
from pathlib import Path

import fitsio
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from afterburner_rows import assert_same, make_tile, write_redrock_of
from fake_rrdesi import settings_of

from quasarloop.afterburner.file_columns import output_columns
from quasarloop.afterburner.output import read_output
from quasarloop.afterburner.redrock_file import read_redrock_rows
from quasarloop.afterburner.redrock_run import later_folder
from quasarloop.afterburner.reruns import RerunBit, Selection
from quasarloop.afterburner.tiles import AfterburnerOptions, run_tile
from quasarloop.errors import DataFormatError, OutputError
from quasarloop.quality import UNUSABLE, prepare
from quasarloop.read import read_spectra
from quasarloop.simulate.faults import Fault
from quasarloop.spectra import Flag

# INTEROP.md, "DESI afterburner": names, types and order of today's pipeline.
DOCUMENTED = """
TARGETID K, RA D, DEC D, DESI_TARGET K, SPECTYPE_RR 6A, Z_RR D, IS_QSO_QN_NEW_RR L, Z_QN E,
C_LYA E, C_CIV E, C_CIII E, C_MgII E, C_Hbeta E, C_Halpha E,
Z_LYA E, Z_CIV E, Z_CIII E, Z_MgII E, Z_Hbeta E, Z_Halpha E,
Z_NEW D, ZERR_NEW E, ZWARN_NEW K, SPECTYPE_NEW 3A, SUBTYPE_NEW 3A, CHI2_NEW E, DELTACHI2_NEW E,
COEFF_NEW 10E
"""


def schema(path):
    with fitsio.FITS(path) as fits:
        header = fits["QN_RR"].read_header()
    n = header["TFIELDS"]
    return [f"{header[f'TTYPE{i}']} {header[f'TFORM{i}']}" for i in range(1, n + 1)]


def documented(target="DESI_TARGET"):
    words = DOCUMENTED.replace("DESI_TARGET", target).split(",")
    return [" ".join(word.split()) for word in words]


def test_the_column_list_is_the_documented_one():
    forms = {"i8": "K", "f8": "D", "f4": "E", "?": "L", "i4": "J"}
    columns = output_columns()[: len(documented())]
    split = [(c.name, *re.fullmatch(r"(\d*)(.+)", c.dtype).groups()) for c in columns]
    ours = [f"{name} {n}" + (forms.get(kind) or f"{kind[1:]}A") for name, n, kind in split]
    assert ours == documented()


def test_a_tile_with_every_fault(tile, network, template_files, fake_rrdesi, tmp_path):
    output = tmp_path / "qso_qn.fits"
    settings = settings_of(fake_rrdesi(), template_files, policy="today")
    summary = run_tile(tile.coadd, tile.redrock, output, network, settings)
    table = read_output(output).table
    redrock = fitsio.read(tile.redrock, ext="REDSHIFTS")
    fibermap = fitsio.read(tile.redrock, ext="FIBERMAP")
    truth = fitsio.read(tile.truth)
    # row-matched, in the documented form, ours after it
    assert schema(output)[: len(documented())] == documented()
    assert [w.split()[0] for w in schema(output)[len(documented()) :]] == [
        c.name for c in output_columns()[len(documented()) :]
    ]
    assert table["TARGETID"].tolist() == redrock["TARGETID"].tolist()
    assert table["RA"].tolist() == fibermap["TARGET_RA"].tolist()
    assert table["DESI_TARGET"].tolist() == fibermap["DESI_TARGET"].tolist()
    assert table["Z_RR"].tolist() == redrock["Z"].tolist()
    assert summary.n_rows == len(redrock) == 120
    # sky fibres are never rerun, whatever the network thinks
    sky = fibermap["OBJTYPE"].astype(str) == "SKY"
    assert sky.sum() > 3
    assert ((table["RERUN_BITS"][sky] & RerunBit.NOT_TARGET) != 0).all()
    assert not table["IS_QSO_QN_NEW_RR"][sky].any()
    # what was rerun has all of it; what was not has none of it
    again = (table["RERUN_BITS"] & RerunBit.RERUN) != 0
    assert (table["IS_QSO_QN_NEW_RR"] == again).all()
    assert 20 < again.sum() < 90
    assert np.isfinite(table["Z_NEW"][again]).all()
    assert (table["COEFF_NEW"][again] == [2, 2, 2, 2, 0, 0, 0, 0, 0, 0]).all()
    for name in ("Z_NEW", "ZERR_NEW", "CHI2_NEW", "DELTACHI2_NEW"):
        assert np.isnan(table[name][~again]).all()
    assert np.isnan(table["COEFF_NEW"][~again]).all()
    assert (table["ZWARN_NEW"][~again] == 0).all()
    assert (table["SPECTYPE_NEW"][~again] == b"").all()
    # every row says why
    assert (table["RERUN_BITS"] != 0).all()
    # quasars redrock had as galaxies are among them
    missed = (truth["SPECTYPE"].astype(str) == "QSO") & (redrock["SPECTYPE"].astype(str) != "QSO")
    found = missed & table["IS_QSO_QN"]
    assert found.sum() >= 5
    assert again[found & ~sky].all()
    no_data = (table["FLAGS"] & UNUSABLE) != 0
    assert np.isnan(table["C_LYA"][no_data]).all()
    assert np.isfinite(table["C_BAL"][~no_data]).all()


def test_a_whole_tile_of_500_with_every_fault(network, own_settings, tmp_path):
    files = make_tile(tmp_path / "sky", 500, seed=6)
    truth = fitsio.read(files.truth)
    for fault in Fault:
        assert np.char.find(truth["FAULTS"].astype(str), fault.name).max() >= 0, fault
    output = tmp_path / "qso_qn.fits"
    run_tile(files.coadd, files.redrock, output, network, own_settings)
    table = read_output(output).table
    redrock = fitsio.read(files.redrock, ext="REDSHIFTS")
    assert table["TARGETID"].tolist() == redrock["TARGETID"].tolist()
    assert table["Z_RR"].tolist() == redrock["Z"].tolist()
    assert schema(output)[: len(documented())] == documented()
    usable = (table["FLAGS"] & UNUSABLE) == 0
    assert np.isfinite(table["C_LYA"]).tolist() == usable.tolist()
    assert (table["RERUN_BITS"] != 0).all()
    sky = truth["SPECTYPE"].astype(str) == ""
    assert not table["IS_QSO_QN_NEW_RR"][sky].any()


def test_zwarn_belongs_to_the_z_beside_it(tile, network, template_files, fake_rrdesi, tmp_path):
    redrock = tmp_path / "redrock.fits"
    shutil.copyfile(tile.redrock, redrock)
    with fitsio.FITS(redrock, "rw") as fits:
        n = fits["REDSHIFTS"].get_nrows()
        fits["REDSHIFTS"].write_column("ZWARN", np.full(n, 4))
    program = fake_rrdesi(after="t['ZWARN'][::2] = 1 << 11")
    output = tmp_path / "out.fits"
    settings = settings_of(program, template_files, policy="today")
    run_tile(tile.coadd, redrock, output, network, settings)
    table = read_output(output).table
    taken = table["Z"] == table["Z_NEW"]
    assert 0 < taken.sum() < len(table)
    assert set(table["ZWARN_NEW"][taken].tolist()) == {0, 1 << 11}
    for name in ("Z", "ZERR", "ZWARN", "SPECTYPE"):
        assert (table[name][taken] == table[f"{name}_NEW"][taken]).all()
        assert (table[name][~taken] == table[f"{name}_RR"][~taken]).all()


def test_same_input_same_bytes(tile, network, template_files, fake_rrdesi, tmp_path):
    settings = settings_of(fake_rrdesi(), template_files)
    for name in "ab":
        run_tile(tile.coadd, tile.redrock, tmp_path / f"{name}.fits", network, settings)
    assert (tmp_path / "a.fits").read_bytes() == (tmp_path / "b.fits").read_bytes()


def test_the_header_says_what_made_it(tile, network, template_files, fake_rrdesi, tmp_path):
    output = tmp_path / "out.fits"
    run_tile(tile.coadd, tile.redrock, output, network, settings_of(fake_rrdesi(), template_files))
    recipe = read_output(output).recipe
    assert recipe["network"]["sha256"] == network.sha256
    assert [t["name"] for t in recipe["redrock"]["templates"]] == [
        "rrtemplate-QSO-HIZ-v1.1.fits",
        "rrtemplate-QSO-LOZ-v1.1.fits",
    ]
    assert recipe["redrock"]["version"] == "0.21.0"
    assert recipe["inputs"]["first_version"] == "simulated"
    # The weights' own: --thresholds pipeline would give 0.5.
    assert recipe["selection"]["c_thresh"] == network.predictor.thresholds.confidence == 0.95
    assert recipe["options"]["thresholds_from"]["confidence"] == "weights"
    assert recipe["options"]["flag_bits"]["NO_DATA"] == Flag.NO_DATA
    header = fitsio.read_header(output, ext="QN_RR")
    assert [header[f"RBIT{i:02d}"] for i in range(len(RerunBit))] == [bit.name for bit in RerunBit]


def test_nothing_selected(tile, network, tmp_path):
    """An empty selection needs no redrock at all, and all rows are there."""
    output = tmp_path / "out.fits"
    settings = AfterburnerOptions(Selection(target_classes=("BGS_ANY",)), rerun="later")
    run_tile(tile.coadd, tile.redrock, output, network, settings)
    table = read_output(output).table
    assert len(table) == 120
    assert (table["RERUN_BITS"] & RerunBit.CLASS_NOT_ASKED).all()
    assert np.isfinite(table["C_LYA"]).sum() > 100  # the network's columns are there all the same
    assert not later_folder(output).exists()


def test_target_classes_do_not_shift_rows(tile, network, template_files, fake_rrdesi, tmp_path):
    redrock = tmp_path / "redrock.fits"
    shutil.copyfile(tile.redrock, redrock)
    with fitsio.FITS(redrock, "rw") as fits:
        bits = fits["FIBERMAP"].read_column("DESI_TARGET")
        bits[::3] = 1 << 60
        fits["FIBERMAP"].write_column("DESI_TARGET", bits)
    program = fake_rrdesi()
    tables = []
    for classes in ((), ("QSO",)):
        settings = settings_of(
            program, template_files, policy="today", selection=Selection(target_classes=classes)
        )
        run_tile(tile.coadd, redrock, tmp_path / "o.fits", network, settings, overwrite=True)
        tables.append(read_output(tmp_path / "o.fits").table)
    everyone, quasars = tables
    for name in ("TARGETID", "Z_QN", "C_MgII", "Z_MgII"):
        np.testing.assert_array_equal(everyone[name], quasars[name])
    assert not quasars["IS_QSO_QN_NEW_RR"][::3].any()
    rest = np.arange(120) % 3 != 0
    np.testing.assert_array_equal(everyone["Z_NEW"][rest], quasars["Z_NEW"][rest])


def test_missing_arm(tile, network, template_files, fake_rrdesi, tmp_path):
    coadd = tmp_path / "coadd.fits"
    with fitsio.FITS(tile.coadd) as old, fitsio.FITS(coadd, "rw") as new:
        new.write(None)
        for hdu in old[1:]:
            if not hdu.get_extname().startswith("B_"):
                new.write(hdu.read(), extname=hdu.get_extname())
    output = tmp_path / "out.fits"
    run_tile(coadd, tile.redrock, output, network, settings_of(fake_rrdesi(), template_files))
    table = read_output(output).table
    assert len(table) == 120
    assert ((table["FLAGS"] & Flag.ARM_B_MASKED) != 0).all()
    unseen = (table["RERUN_BITS"] & RerunBit.MISSING_ARM) != 0
    assert unseen.any()
    assert not (table["RERUN_BITS"][unseen] & RerunBit.RERUN).any()
    assert np.isnan(table["Z_NEW"][unseen]).all()
    assert (table["Z"] == table["Z_RR"])[unseen].all()
    lya = (1 + table["Z_NEW"]) * 1215.67
    assert not ((lya > 3600) & (lya < 5760)).any()


def test_all_masked(tile, network, template_files, fake_rrdesi, tmp_path):
    coadd = tmp_path / "coadd.fits"
    shutil.copyfile(tile.coadd, coadd)
    with fitsio.FITS(coadd, "rw") as fits:
        for arm in "BRZ":
            fits[f"{arm}_IVAR"].write(np.zeros_like(fits[f"{arm}_IVAR"].read()))
    output = tmp_path / "out.fits"
    run_tile(coadd, tile.redrock, output, network, settings_of(fake_rrdesi(), template_files))
    table = read_output(output).table
    assert len(table) == 120
    assert (table["RERUN_BITS"] & RerunBit.NO_SPECTRUM).all()
    assert np.isnan(table["Z_QN"]).all()
    assert (table["Z"] == table["Z_RR"]).all()


def test_rows_in_another_order_are_matched(tile, network, tmp_path):
    """Redrock's order rules; the coadd's and the FIBERMAP's are followed by TARGETID."""
    redrock = tmp_path / "redrock.fits"
    order = np.random.default_rng(1).permutation(120)
    with fitsio.FITS(tile.redrock) as old, fitsio.FITS(redrock, "rw") as new:
        new.write(None)
        new.write(old["REDSHIFTS"].read()[order], extname="REDSHIFTS")
        new.write(old["FIBERMAP"].read(), extname="FIBERMAP")
    settings = AfterburnerOptions(rerun="later")
    for name, path in (("a", tile.redrock), ("b", redrock)):
        run_tile(tile.coadd, path, tmp_path / f"{name}.fits", network, settings)
    a, b = (read_output(tmp_path / f"{name}.fits").table for name in "ab")
    assert_same(a[order], b)


def test_files_that_do_not_belong_together(tile, network, tmp_path, shared_data):
    other = shared_data / "desi_redrock" / "coadd-4-80613-thru20210324.fits"
    with pytest.raises(DataFormatError, match=r"TARGETID .* is not in the coadd"):
        run_tile(
            other,
            tile.redrock,
            tmp_path / "o.fits",
            network,
            AfterburnerOptions(rerun="later"),
        )
    with pytest.raises(DataFormatError, match="no HDU named REDSHIFTS"):
        run_tile(
            tile.coadd,
            tile.coadd,
            tmp_path / "o.fits",
            network,
            AfterburnerOptions(rerun="later"),
        )


def test_an_output_is_not_overwritten_unasked(tile, network, tmp_path):
    output = tmp_path / "out.fits"
    output.write_text("precious")
    with pytest.raises(OutputError, match="exists"):
        run_tile(tile.coadd, tile.redrock, output, network, AfterburnerOptions(rerun="later"))
    assert output.read_text() == "precious"
    with pytest.raises(DataFormatError, match="no afterburner output"):
        read_output(output)


class TestRealFiles:
    def test_the_real_pair(self, network, shared_data, tmp_path):
        folder = shared_data / "desi_redrock"
        coadd, redrock = (
            folder / f"{kind}-4-80613-thru20210324.fits" for kind in ("coadd", "redrock")
        )
        output = tmp_path / "qso_qn.fits"
        run_tile(coadd, redrock, output, network, AfterburnerOptions(rerun="later"))
        table = read_output(output).table
        real = fitsio.read(redrock, ext="REDSHIFTS")
        assert schema(output)[: len(documented())] == documented("SV1_DESI_TARGET")
        assert table["TARGETID"].tolist() == [39633345008634465] == real["TARGETID"].tolist()
        assert table["Z_RR"].tolist() == real["Z"].tolist()
        assert (
            table["SV1_DESI_TARGET"][0]
            == fitsio.read(redrock, ext="FIBERMAP")["SV1_DESI_TARGET"][0]
        )
        recipe = read_output(output).recipe
        assert recipe["inputs"]["first_version"] == "0.17.0"
        assert "GALAXY 2.6" in recipe["inputs"]["first_templates"]

    @pytest.mark.parametrize(
        ("name", "n"),
        [
            ("desi_tile80693/coadd-1-80693-thru20210204.fits", 5),
            ("desi_healpix9144/coadd-main-dark-9144.fits", 2),
            ("desi_healpix9144/coadd-sv3-dark-9144.fits", 2),
            ("quasarnp_fixture/test_coadd.fits", 25),
        ],
    )
    def test_real_coadds(self, name, n, network, shared_data, own_settings, tmp_path):
        coadd = shared_data / name
        redrock = tmp_path / "redrock.fits"
        with fitsio.FITS(coadd) as fits:
            fibermap = fits["FIBERMAP"].read() if "FIBERMAP" in fits else None
        # without a FIBERMAP nobody knows who the targets are
        ids = np.full(n, -1) if fibermap is None else fibermap["TARGETID"].astype(np.int64)
        write_redrock_of(redrock, ids, fibermap, coadd)
        output = tmp_path / "qso_qn.fits"
        run_tile(coadd, redrock, output, network, own_settings)
        table = read_output(output).table
        rows = read_redrock_rows(redrock)
        assert table["TARGETID"].tolist() == rows.target_id.tolist()
        assert len(table) == n
        target = rows.phase.column
        assert schema(output)[: len(documented())] == documented(target)
        usable = (prepare(read_spectra(coadd), network.predictor.config.grid).flags & UNUSABLE) == 0
        assert np.isfinite(table["C_LYA"]).tolist() == usable.tolist()
        if "test_coadd" not in name:
            # known quasars that this redrock file has as galaxies
            assert table["IS_QSO_QN"].all()
            assert table["IS_QSO_QN_NEW_RR"].all()
            assert np.char.strip(table["SPECTYPE"].astype(str)).tolist() == ["QSO"] * n
