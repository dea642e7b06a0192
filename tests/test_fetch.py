"""Public files are fetched once, whole, and on from where a transfer ended; from a local server."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from quasarloop import fetch, open_store
from quasarloop.cli import app
from quasarloop.errors import DataFormatError

IRON = "/public/dr1/spectro/redux/iron"
COADD = f"{IRON}/tiles/cumulative/80605/20210205/coadd-0-80605-thru20210205.fits"


@pytest.fixture
def server():
    """A small server: its files, what was requested, and after how many bytes it hangs up."""
    state = SimpleNamespace(files={}, requests=[], hang_up_after=None)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            start = int(self.headers.get("Range", "bytes=0-")[6:-1])
            state.requests.append((self.path, start))
            content = state.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            if start and start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start : start + (state.hang_up_after or len(content))])

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    state.url = f"http://127.0.0.1:{running.server_port}"
    yield state
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.fixture
def bytes_of_a_coadd():
    return np.random.default_rng(1).bytes(300_000)


def one(server):
    return [fetch.Remote(f"{server.url}/a.fits", "a.fits")]


def test_a_file_is_fetched_once_and_its_checksum_kept(server, tmp_path, bytes_of_a_coadd):
    server.files["/a.fits"] = bytes_of_a_coadd
    (path,) = fetch.fetch_files(one(server), tmp_path)
    assert path.read_bytes() == bytes_of_a_coadd
    sha = hashlib.sha256(bytes_of_a_coadd).hexdigest()
    assert (tmp_path / fetch.CHECKSUMS).read_text() == f"{sha}  a.fits\n"
    fetch.fetch_files(one(server), tmp_path)
    assert len(server.requests) == 1


def test_a_transfer_cut_off_goes_on_where_it_ended(server, tmp_path, bytes_of_a_coadd):
    server.files["/a.fits"] = bytes_of_a_coadd
    server.hang_up_after = 100_000
    with pytest.raises(DataFormatError, match="run the same command again"):
        fetch.fetch_files(one(server), tmp_path)
    assert not (tmp_path / "a.fits").exists()
    server.hang_up_after = None
    (path,) = fetch.fetch_files(one(server), tmp_path)
    assert path.read_bytes() == bytes_of_a_coadd
    assert server.requests[-1][1] > 0
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []


def test_a_part_longer_than_the_file_begins_anew(server, tmp_path, bytes_of_a_coadd):
    server.files["/a.fits"] = bytes_of_a_coadd
    (tmp_path / ".a.fits.part").write_bytes(bytes(400_000))
    (path,) = fetch.fetch_files(one(server), tmp_path)
    assert path.read_bytes() == bytes_of_a_coadd


def test_a_damaged_file_is_fetched_again_and_another_one_refused(
    server, tmp_path, bytes_of_a_coadd
):
    server.files["/a.fits"] = bytes_of_a_coadd
    (path,) = fetch.fetch_files(one(server), tmp_path)
    path.write_bytes(b"damaged")
    fetch.fetch_files(one(server), tmp_path)
    assert path.read_bytes() == bytes_of_a_coadd
    path.write_bytes(b"damaged")
    server.files["/a.fits"] = b"a new reduction"
    with pytest.raises(DataFormatError, match=r"not the file that was fetched before.*remove the"):
        fetch.fetch_files(one(server), tmp_path)


def test_addresses_that_cannot_be_had_are_named(server, tmp_path):
    with pytest.raises(DataFormatError, match=r"a\.fits: the survey's server replied 404"):
        fetch.fetch_files(one(server), tmp_path)
    nowhere = [fetch.Remote("http://127.0.0.1:9/a.fits", "a.fits")]
    with pytest.raises(DataFormatError, match="check the network"):
        fetch.fetch_files(nowhere, tmp_path)


def test_addresses_are_those_of_the_surveys():
    (tile,) = fetch.desi_tile(80605, 20210205, [0], "dr1")
    assert tile.url == f"https://data.desi.lbl.gov{COADD}"
    assert len(fetch.desi_tile(80605, 20210205, [], "edr")) == 10
    (pixel,) = fetch.desi_healpix([23040], "main", "dark", "dr1")
    assert pixel.url == (
        f"https://data.desi.lbl.gov{IRON}/healpix/main/dark/230/23040/coadd-main-dark-23040.fits"
    )
    (boss,) = fetch.sdss_plate(7166, 56602, [536])
    assert boss.url == (
        "https://data.sdss.org/sas/dr17/eboss/spectro/redux/v5_13_2/spectra/lite/7166/"
        "spec-7166-56602-0536.fits"
    )
    (old,) = fetch.sdss_plate(266, 51602, [])
    assert old.url.endswith("dr17/sdss/spectro/redux/26/0266/spPlate-0266-51602.fits")
    (five,) = fetch.sdss_field(15000, 59146, [4375924756])
    assert five.url == (
        "https://data.sdss.org/sas/dr19/spectro/boss/redux/v6_1_3/spectra/lite/015000/59146/"
        "spec-015000-59146-4375924756.fits"
    )
    (field,) = fetch.sdss_field(15000, 59146, [])
    assert field.url.endswith("v6_1_3/015000/spField-015000-59146.fits")
    with pytest.raises(DataFormatError, match="no release 'dr9'"):
        fetch.desi_healpix([1], "main", "dark", "dr9")


def test_the_last_night_comes_from_the_list_of_tiles(server):
    server.files[f"{IRON}/tiles-iron.csv"] = b"TILEID,LASTNIGHT\n1,20210101\n80605,20210205\n"
    (tile,) = fetch.desi_tile(80605, None, [0], "dr1", f"{server.url}/public")
    assert tile.url == f"{server.url}{COADD}"
    with pytest.raises(DataFormatError, match="has no tile 7"):
        fetch.desi_tile(7, None, [0], "dr1", f"{server.url}/public")


def test_the_commands_fetch_and_what_they_fetch_is_read(
    server, tmp_path, monkeypatch, spectrum_files
):
    coadd = spectrum_files.write_coadd(tmp_path / "coadd.fits")
    server.files[COADD] = coadd.read_bytes()
    monkeypatch.setattr(fetch.desi_tile, "__defaults__", (f"{server.url}/public",))
    command = ["fetch", "desi", "--tile", "80605", "--night", "20210205", "--petal", "0", "--out"]
    out = tmp_path / "desi"
    result = CliRunner().invoke(app, [*command, str(out)], catch_exceptions=False)
    assert result.exit_code == 0
    path = out / "80605" / "coadd-0-80605-thru20210205.fits"
    assert path.read_bytes() == coadd.read_bytes()
    assert str(path) in result.output.replace("\n", "")
    for wrong in (["desi", "--out", "x"], ["sdss", "--mjd", "1", "--out", "x"]):
        with pytest.raises(DataFormatError, match="give either"):
            CliRunner().invoke(app, ["fetch", *wrong], catch_exceptions=False)


@pytest.mark.parametrize(
    ("words", "survey", "values"),
    [
        (
            "desi --healpix 23040 --healpix 7",
            fetch.desi_healpix,
            ([23040, 7], "main", "dark", "dr1"),
        ),
        ("sdss --plate 7102 --mjd 56666 --fiber 82", fetch.sdss_plate, (7102, 56666, [82])),
        ("sdss --field 15000 --mjd 59146", fetch.sdss_field, (15000, 59146, [])),
    ],
)
def test_options_name_what_is_fetched(server, tmp_path, monkeypatch, words, survey, values):
    monkeypatch.setattr(survey, "__defaults__", (server.url,))
    remotes = survey(*values)
    server.files = {one.url.removeprefix(server.url): b"spectra" for one in remotes}
    command = ["fetch", *words.split(), "--out", str(tmp_path)]
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    assert all((tmp_path / one.name).read_bytes() == b"spectra" for one in remotes)
    assert len(server.requests) == len(remotes)


class Sparcl:
    """As sparclclient's client: `retrieve` returns records by name."""

    def __init__(self, known):
        self.known, self.asked = known, []

    def retrieve(self, *, uuid_list, include, limit):
        self.asked.append(uuid_list)
        wave = np.linspace(3600, 9800, 2000)
        records = [
            {
                "sparcl_id": name,
                "specid": 100 + self.known.index(name),
                "wavelength": wave,
                "flux": np.random.default_rng(len(name)).normal(3, 1, 2000),
                "ivar": np.ones(2000),
                "ra": 1.0,
                "dec": 2.0,
            }
            for name in uuid_list
            if name in self.known
        ]
        return SimpleNamespace(records=records)


def test_sparcl_fills_a_store_in_batches_and_only_once(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "_RECORDS", 2)
    client = Sparcl(["a", "bb", "ccc"])
    summaries = fetch.fetch_sparcl(["a", "bb", "ccc"], tmp_path / "sky", client=client)
    assert [len(batch) for batch in client.asked] == [2, 1]
    assert sum(summary.n_rows for summary in summaries) == 3
    store = open_store(tmp_path / "sky")
    assert store.n_rows == 3
    assert len(store.shards) == 2  # spectra of one wavelength grid go together
    fetch.fetch_sparcl(["a", "bb", "ccc"], tmp_path / "sky", client=client)
    assert open_store(tmp_path / "sky").n_rows == 3
    with pytest.raises(DataFormatError, match="SPARCL has none"):
        fetch.fetch_sparcl(["x"], tmp_path / "sky", client=client)
    monkeypatch.setattr(fetch, "_sparcl_client", lambda: client)
    (tmp_path / "ids.txt").write_text("a\nbb\n")
    command = ["fetch", "sparcl", "--ids", str(tmp_path / "ids.txt"), "--ids", "ccc", "--store"]
    result = CliRunner().invoke(app, [*command, str(tmp_path / "new")], catch_exceptions=False)
    assert "3 spectra ->" in result.output
    assert open_store(tmp_path / "new").n_rows == 3


def test_without_sparclclient_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sparcl", None)
    with pytest.raises(DataFormatError, match=r"quasarloop\[sparcl\]"):
        fetch.fetch_sparcl(["x"], tmp_path / "sky")
