"""The FITS reader against astropy, and against damage."""

import gzip
import subprocess
import sys

import fitsio
import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quasarloop.errors import DataFormatError
from quasarloop.read import content_digest
from quasarloop.read.fits_reader import open_fits

TYPES = ["u1", "i2", "i4", "i8", "f4", "f8"]


@pytest.mark.parametrize("kind", TYPES)
def test_images_equal_what_astropy_wrote(tmp_path, kind):
    image = (np.arange(24).reshape(4, 3, 2) * 3).astype(kind)
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image, name="IMAGE")]).writeto(tmp_path / "a")
    with open_fits(tmp_path / "a") as file:
        hdu = file.need("image")
        assert hdu.shape == (4, 3, 2)
        np.testing.assert_array_equal(file.image(hdu), image)
        np.testing.assert_array_equal(file.image(hdu, slice(1, 3)), image[1:3])
        assert file.image(hdu, slice(3, 3)).shape == (0, 3, 2)


@pytest.mark.parametrize("kind", ["u2", "u4"])
def test_unsigned_images_and_columns_come_back_unsigned(tmp_path, kind):
    values = np.array([0, 1, np.iinfo(kind).max], dtype=kind)
    table = fits.BinTableHDU(np.rec.fromarrays([values], names="MASK"))
    fits.HDUList([fits.PrimaryHDU(values), table]).writeto(tmp_path / "a")
    with open_fits(tmp_path / "a") as file:
        np.testing.assert_array_equal(file.image(file.hdus[0]), values)
        np.testing.assert_array_equal(file.columns(file.hdus[1], ["MASK"])["MASK"], values)


def test_unsigned_64_bit_columns_keep_every_digit(tmp_path):
    values = np.array([0, 2**63 + 7, 2**64 - 1], dtype="u8")
    fits.BinTableHDU(np.rec.fromarrays([values], names="ID")).writeto(tmp_path / "a")
    with open_fits(tmp_path / "a") as file:
        np.testing.assert_array_equal(file.columns(file.hdus[1], ["ID"])["ID"], values)


def test_columns_of_all_kinds_equal_astropy(tmp_path):
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("Flag", "L", array=np.array([True, False, True])),
            fits.Column("bits", "11X", array=np.zeros((3, 11), bool)),
            fits.Column("WORD", "5A", array=np.array(["abc", "", "de fg"])),
            fits.Column("pair", "2E", array=np.arange(6, dtype="f4").reshape(3, 2)),
            fits.Column("many", "PJ()", array=np.array([[1], [2, 3], []], dtype=object)),
            fits.Column("ID", "K", array=np.array([-1, 2**62, 3])),
            fits.Column("scaled", "I", array=np.array([2, 4, 6])),
        ]
    )
    table.header["TSCAL7"] = 0.5
    table.writeto(tmp_path / "a")
    with open_fits(tmp_path / "a") as file:
        hdu = file.hdus[1]
        got = file.columns(hdu, ["FLAG", "word", "PAIR", "id", "SCALED", "absent"])
        assert got["FLAG"].tolist() == [True, False, True]
        assert got["word"].tolist() == ["abc", "", "de fg"]
        np.testing.assert_array_equal(got["PAIR"], [[0, 1], [2, 3], [4, 5]])
        assert got["id"].tolist() == [-1, 2**62, 3]
        np.testing.assert_allclose(got["SCALED"], [1, 2, 3])
        assert "absent" not in got
        assert file.columns(hdu, ["ID"], slice(1, 2))["ID"].tolist() == [2**62]
        with pytest.raises(DataFormatError, match="MANY has the format"):
            file.columns(hdu, ["MANY"])


@given(
    values=hnp.arrays(
        st.sampled_from([np.dtype(t) for t in TYPES[1:]]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=7),
    ),
    first=st.integers(0, 7),
    length=st.integers(0, 7),
)
def test_any_image_and_any_rows(tmp_path_factory, values, first, length):
    path = tmp_path_factory.mktemp("fits") / "a.fits"
    fits.PrimaryHDU(values).writeto(path)
    with open_fits(path) as file:
        rows = slice(first, first + length)
        np.testing.assert_array_equal(file.image(file.hdus[0], rows), values[rows])


def test_header_values(tmp_path):
    header = fits.Header(
        [("TEXT", "it's / fine"), ("YES", True), ("NO", False), ("INT", -7), ("REAL", 1.5e-7)]
    )
    header["LONGER"] = "x" * 100  # written with CONTINUE; the first part is enough
    header["COMMENT"] = "= 3"
    fits.PrimaryHDU(header=header).writeto(tmp_path / "a")
    with open_fits(tmp_path / "a") as file:
        found = file.hdus[0].header
        assert found["TEXT"] == "it's / fine"
        assert found["YES"] is True
        assert found["NO"] is False
        assert found["INT"] == -7
        assert found["REAL"] == 1.5e-7
        assert "COMMENT" not in found


def test_gzip_is_told_by_content(tmp_path):
    fits.PrimaryHDU(np.arange(6.0)).writeto(tmp_path / "a.fits")
    (tmp_path / "b.fits").write_bytes(gzip.compress((tmp_path / "a.fits").read_bytes()))
    with open_fits(tmp_path / "b.fits") as file:
        np.testing.assert_array_equal(file.image(file.hdus[0]), np.arange(6.0))


def test_gzip_of_gigabytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("quasarloop.artefacts._MOST_UNPACKED", 3 << 20)
    sound = tmp_path / "sound.fits"
    fits.PrimaryHDU(np.zeros((700, 500), "f8")).writeto(sound)  # 2.7 MiB, 3 kB when packed
    (tmp_path / "a.fits.gz").write_bytes(gzip.compress(sound.read_bytes()))
    with open_fits(tmp_path / "a.fits.gz") as file:
        assert file.hdus[0].shape == (700, 500)
    (tmp_path / "b.fits.gz").write_bytes(gzip.compress(bytes(5 << 20)))
    with (
        pytest.raises(DataFormatError, match=r"b\.fits\.gz.*unpacks to more than 3 MiB.*gunzip"),
        open_fits(tmp_path / "b.fits.gz"),
    ):
        pass


def test_three_megabytes_of_packed_zeros_stay_small(tmp_path):
    path = tmp_path / "zeros.fits.gz"
    path.write_bytes(300 * gzip.compress(bytes(10 << 20)))  # 3 GB; a file may have many members
    code = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from quasarloop.errors import DataFormatError\n"
        "from quasarloop.read.fits_reader import open_fits\n"
        "try:\n"
        "    with open_fits(sys.argv[1]): pass\n"
        "except DataFormatError:\n"
        # Not ru_maxrss, which is handed down from the process that runs the tests.
        "    status = Path('/proc/self/status').read_text()\n"
        "    print(re.search(r'VmHWM:\\s+(\\d+) kB', status)[1])\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    peak_kb = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert int(peak_kb) < 1.5 * 2**20


def test_tile_compressed_images_are_read_through_fitsio(tmp_path):
    image = np.arange(200, dtype="i4").reshape(20, 10)
    with fitsio.FITS(str(tmp_path / "a.fits"), "rw") as file:
        file.write(image, compress="rice", extname="MASK")
    with open_fits(tmp_path / "a.fits") as file:
        hdu = file.need("MASK")
        assert hdu.shape == (20, 10)
        np.testing.assert_array_equal(file.image(hdu), image)
        np.testing.assert_array_equal(file.image(hdu, slice(5, 8)), image[5:8])


@pytest.mark.parametrize("keep", [0.15, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("zipped", [False, True])
def test_truncated_at_any_place_is_said_to_be(tmp_path, keep, zipped):
    content = [fits.PrimaryHDU(), fits.ImageHDU(np.random.default_rng(0).random((90, 90)))]
    fits.HDUList(content).writeto(tmp_path / "whole.fits")
    raw = (tmp_path / "whole.fits").read_bytes()
    raw = gzip.compress(raw) if zipped else raw[: -(len(raw) % 2880) or None]
    (tmp_path / "cut.fits").write_bytes(raw[: int(len(raw) * keep)])
    complaint = r"cut\.fits.*(truncated|again)"
    with pytest.raises(DataFormatError, match=complaint), open_fits(tmp_path / "cut.fits"):
        pass


def test_a_cut_inside_the_padding_may_have_lost_what_followed(tmp_path):
    fits.PrimaryHDU(np.arange(6.0)).writeto(tmp_path / "a.fits")
    (tmp_path / "b.fits").write_bytes((tmp_path / "a.fits").read_bytes()[: 2880 + 48])
    with pytest.raises(DataFormatError, match="truncated"), open_fits(tmp_path / "b.fits"):
        pass


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "empty file"),
        (b"plain text, not a FITS file at all" * 200, "not a FITS file"),
        (b"\x1f\x8b" + b"\0" * 50, "gzip data"),
        (b"SIMPLE  =                    T" + b" " * 2850, "truncated inside a header"),
    ],
)
def test_what_is_not_fits_is_said_to_be(tmp_path, content, complaint):
    (tmp_path / "bad.fits").write_bytes(content)
    with pytest.raises(DataFormatError, match=complaint), open_fits(tmp_path / "bad.fits"):
        pass


def test_damaged_sizes_and_missing_files(tmp_path):
    fits.PrimaryHDU(np.arange(6.0)).writeto(tmp_path / "a.fits")
    raw = (
        (tmp_path / "a.fits")
        .read_bytes()
        .replace(b"NAXIS1  =                    6", b"NAXIS1  =                    ?")
    )
    (tmp_path / "bad.fits").write_bytes(raw)
    complaint = r"damaged header.*NAXIS1"
    with pytest.raises(DataFormatError, match=complaint), open_fits(tmp_path / "bad.fits"):
        pass
    with pytest.raises(DataFormatError, match="No such file"), open_fits(tmp_path / "none.fits"):
        pass


def test_wrong_kind_of_hdu(tmp_path):
    fits.PrimaryHDU(np.arange(6.0)).writeto(tmp_path / "a.fits")
    with open_fits(tmp_path / "a.fits") as file:
        with pytest.raises(DataFormatError, match="no binary table"):
            file.columns(file.hdus[0], ["X"])
        with pytest.raises(DataFormatError, match="no HDU named B_FLUX; found #0"):
            file.need("B_FLUX")
        with pytest.raises(DataFormatError, match="steps of 1"):
            file.image(file.hdus[0], slice(0, 4, 2))


def test_digest_is_of_headers_and_of_what_spectra_are_made_of(tmp_path, spectrum_files):
    path = spectrum_files.write_coadd(tmp_path / "a.fits")
    digest = content_digest(path)
    (tmp_path / "a.fits.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert content_digest(tmp_path / "a.fits.gz") == digest

    def changed(name, where):
        with fits.open(path) as hdus:
            hdus[name].data[where] += 1
            hdus.writeto(tmp_path / "changed.fits", overwrite=True)
        return content_digest(tmp_path / "changed.fits")

    assert changed("B_MASK", (0, 5)) == digest
    assert changed("B_FLUX", (0, 5)) != digest
    assert changed("Z_IVAR", (3, 7)) != digest
    assert changed("R_WAVELENGTH", -1) != digest
    with fits.open(path) as hdus:
        hdus[0].header["NIGHT"] = 20210101
        hdus.writeto(tmp_path / "changed.fits", overwrite=True)
    assert content_digest(tmp_path / "changed.fits") != digest


def test_blank_pixels_of_scaled_images_are_not_numbers(tmp_path):
    hdu = fits.PrimaryHDU(np.array([[100, -32768, 7]], "i2"))
    hdu.header.update({"BSCALE": 0.5, "BZERO": 3.0, "BLANK": -32768})
    hdu.writeto(tmp_path / "a.fits")
    with open_fits(tmp_path / "a.fits") as file:
        ours = file.image(file.hdus[0])
    np.testing.assert_array_equal(ours, fits.getdata(tmp_path / "a.fits"))
    assert ours.tolist()[0][::2] == [53.0, 6.5]
