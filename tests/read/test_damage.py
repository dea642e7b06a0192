"""Files with a damaged header read, or are refused with one clear error: never anything else."""

import random
import warnings

import pytest

from quasarloop.errors import DataFormatError
from quasarloop.read import read_spectra

WRITERS = [
    "write_coadd",
    "write_cframe",
    "write_spec",
    "write_plate",
    "write_lamost",
    "write_quasarnet",
    "write_andes",
    "write_sdssv",
    "write_field",
    "write_eso",
    "write_lamost_table",
    "write_weave",
    "write_weave_l2",
    "write_gama",
    "write_twodf",
    "write_sixdf",
]
NUMBERS = [-1, 0, 1, 2, 3, 7, 8, 16, 32, -32, -64, 999_999_999_999_999_999]


def damage(raw, cards, rng):
    """Spoil up to three header cards: a byte, the whole card, or its value."""
    spoilt = bytearray(raw)
    for _ in range(rng.randint(1, 3)):
        card = rng.choice(cards)
        kind = rng.choice(["byte", "card", "number", "word"])
        if kind == "byte":
            spoilt[card + rng.randint(0, 40)] = rng.choice(b"0123456789 'TFABEDKJ-+.*")
        elif kind == "card":
            spoilt[card : card + 80] = b" " * 80
        elif kind == "number":
            spoilt[card + 10 : card + 30] = str(rng.choice(NUMBERS)).rjust(20).encode()
        else:
            word = bytes(rng.choice(b"ABCDEFIJKLPQX0123456789") for _ in range(5))
            spoilt[card + 10 : card + 30] = b"'" + word + b"'".ljust(14)
    return bytes(spoilt)


@pytest.mark.parametrize("writer", WRITERS)
def test_damaged_headers(tmp_path, spectrum_files, survey_files, writer):
    write = getattr(spectrum_files, writer, None) or getattr(survey_files, writer)
    raw = write(tmp_path / "whole.fits").read_bytes()
    cards = [i for i in range(0, len(raw), 80) if raw[i + 8 : i + 10] == b"= "]
    rng = random.Random(writer)
    refused = 0
    for _ in range(80):
        (tmp_path / "bad.fits").write_bytes(damage(raw, cards, rng))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                read_spectra(tmp_path / "bad.fits")
            except DataFormatError as exc:
                refused += 1
                assert "bad.fits" in str(exc)
    assert refused > 10
