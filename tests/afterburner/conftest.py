"""A small simulated tile, the network that comes with the package, templates' outsides."""

import stat
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from afterburner_rows import make_tile, write_template
from fake_rrdesi import FAKE, settings_of

from quasarloop.afterburner.network_step import load_network


@pytest.fixture(scope="session")
def tile(tmp_path_factory):
    """120 fibres of a simulated tile with every fault."""
    return make_tile(tmp_path_factory.mktemp("tile"), 120)


@pytest.fixture(scope="session")
def network():
    """The network that comes with the package."""
    return load_network()


@pytest.fixture(scope="session")
def template_files(tmp_path_factory):
    """Files that say of themselves what redrock's quasar templates do; no spectra inside."""
    folder = tmp_path_factory.mktemp("templates")
    for subtype, low, high in (("HIZ", 1.4, 6.99), ("LOZ", 0.05, 1.6)):
        write_template(folder / f"rrtemplate-QSO-{subtype}-v1.1.fits", subtype, low, high)
    return folder


@pytest.fixture
def fake_rrdesi(tmp_path):
    def make(before: str = "", after: str = "") -> str:
        path = tmp_path / "rrdesi"
        path.write_text(FAKE.format(python=sys.executable, before=before, after=after))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return make


@pytest.fixture
def own_settings(fake_rrdesi, template_files):
    return settings_of(fake_rrdesi(), template_files, policy="today")
