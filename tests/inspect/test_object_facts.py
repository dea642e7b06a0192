"""What the page knows of an object: hand-computed numbers, and real files."""

import numpy as np
import pytest

from quasarloop.errors import InspectionError
from quasarloop.inspect.object_facts import LINKS, bits_in_words, object_facts, sexagesimal
from quasarloop.inspect.server import prepare
from quasarloop.inspect.spectra_files import open_spectra
from quasarloop.read import read_spectra


def test_coordinates_in_hours_and_degrees_round_as_a_whole():
    assert sexagesimal(0.0, 0.0) == "00:00:00.00 +00:00:00.0"
    assert sexagesimal(187.70593, 12.39112) == "12:30:49.42 +12:23:28.0"  # M 87
    assert sexagesimal(359.9999999, -89.99999999) == "00:00:00.00 -90:00:00.0"


def test_coordinates_agree_with_astropy():
    from astropy.coordinates import SkyCoord

    rng = np.random.default_rng(2)
    for ra, dec in zip(rng.uniform(0, 360, 50), rng.uniform(-90, 90, 50), strict=True):
        ours = SkyCoord(sexagesimal(ra, dec), unit=("hourangle", "deg"))
        assert ours.separation(SkyCoord(ra, dec, unit="deg")).arcsec < 0.1


def test_bits_have_names():
    assert bits_in_words(0, {3: "restricted reach"}) == ""
    assert bits_in_words(-1, {}) == ""  # unknown
    assert bits_in_words(1 << 3 | 1 << 22, {3: "restricted reach"}) == "restricted reach, bit 22"


def test_facts_of_a_desi_coadd(shared_data):
    folder = shared_data / "desi_redrock"
    spectra = read_spectra(next(folder.glob("coadd-*.fits")))
    found = object_facts(spectra[:1])
    facts = dict(found["facts"])
    assert len(found["sexagesimal"].split()) == 2
    assert facts["tile"] == "80613"
    assert "survey" not in facts  # nor in this file's header
    assert [part.split()[0] for part in facts["magnitudes"].split(", ")][:3] == ["g", "r", "z"]
    assert "LRG" in facts["targets"] or "BGS_ANY" in facts["targets"]
    assert [part.split()[0] for part in facts["S/N"].split(", ")] == ["b", "r", "z"]
    assert int(facts["exposures"]) >= 1


def test_facts_of_a_boss_spectrum(shared_data):
    spectra = read_spectra(shared_data / "boss_plate7102" / "spec-7102-56666-0082.fits")
    facts = dict(object_facts(spectra)["facts"])
    assert (facts["plate"], facts["MJD"], facts["fibre"]) == ("7102", "56666", "82")
    assert [part.split()[0] for part in facts["magnitudes"].split(", ")] == list("ugriz")
    assert facts["colours"].startswith("u−g")
    assert facts["targets"] == "QSO_NN, QSO_KDE, QSO_BONUS_MAIN"  # bits 14, 19, 41
    assert facts["exposures"] == "4"


def test_target_classes_of_sdss_have_the_names_of_the_survey(shared_data):
    """LEGACY_TARGET1 7172 and EBOSS_TARGET1 4096 of real files, by hand."""
    legacy = read_spectra(shared_data / "boss_agn" / "spec-0274-51913-0057.fits")
    facts = dict(object_facts(legacy)["facts"])
    assert facts["targets"] == "QSO_SKIRT, ROSAT_B, ROSAT_C, ROSAT_D"  # 4 + 1024 + 2048 + 4096
    eboss = read_spectra(shared_data / "boss_qso_plates" / "spec-10656-58163-0366.fits")
    assert dict(object_facts(eboss)["facts"])["targets"] == "QSO1_REOBS"


def test_without_tables_there_is_less(prepared):
    shown = open_spectra([prepared[1]]).load(str(prepared[1]), 0, 39627945488154697)
    found = object_facts(shown.spectra)
    assert found["sexagesimal"] is None
    assert "S/N" in dict(found["facts"])
    assert "magnitudes" not in dict(found["facts"])


def test_links_are_a_setting(client, database, prepared):
    assert client("ada").get("/api/reference").json()["links"] == LINKS
    files = open_spectra([prepared[1]])
    prepare(database, files, links=["NED=https://ned.example/?ra={ra}&dec={dec}"])
    sent = client("ada").get("/api/reference").json()["links"]
    assert sent == {"NED": "https://ned.example/?ra={ra}&dec={dec}"}
    with pytest.raises(InspectionError, match="NAME=ADDRESS"):
        prepare(database, files, links=["javascript:alert(1)"])
