"""Prior files: what redrock's reader makes of them, and what is refused."""

import sys
from pathlib import Path

import fitsio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from afterburner_rows import write_template

from quasarloop.afterburner.launch_redrock import numpy_as_redrock_knows_it
from quasarloop.afterburner.redrock_run import Priors, clear_priors, plan_runs, write_priors
from quasarloop.afterburner.templates import find_quasar_templates
from quasarloop.errors import RedrockError


def test_prior_file_as_redrock_reads_it(tmp_path):
    path = tmp_path / "priors.fits"
    write_priors(path, np.array([-7, 12]), np.array([2.0, 0.5]), np.array([0.1, 0.2]))
    table = fitsio.read(path, ext="PRIORS")
    assert table.dtype.names == ("TARGETID", "FUNCTION", "Z", "SIGMA")
    with fitsio.FITS(path) as fits:
        header = fits["PRIORS"].read_header()
    assert [header[f"TFORM{i}"] for i in range(1, 5)] == ["K", "6A", "D", "D"]
    assert table["FUNCTION"].astype(str).tolist() == ["tophat", "tophat"]
    assert table["TARGETID"].tolist() == [-7, 12]
    assert table["SIGMA"].tolist() == [0.1, 0.2]  # full width


@pytest.mark.parametrize(
    ("ids", "z", "width"),
    [([], [], []), ([1, 1], [1, 2], [0.1, 0.1]), ([1], [np.nan], [0.1]), ([1], [1.0], [0.0])],
)
def test_priors_redrock_would_choke_on(tmp_path, ids, z, width):
    with pytest.raises(RedrockError, match="expected one finite prior per target"):
        write_priors(
            tmp_path / "p.fits",
            np.array(ids, dtype=np.int64),
            np.array(z, float),
            np.array(width, float),
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.redrock
@given(
    z=st.floats(0.05, 6.0),
    width=st.floats(0.01, 0.6),
    target=st.integers(-(2**63), 2**63 - 1),
)
def test_redrocks_reader_gives_the_tophat_asked_for(tmp_path_factory, z, width, target):
    reader = pytest.importorskip(
        "redrock.priors", reason="redrock is absent: pip install quasarloop[redrock]"
    )
    path = tmp_path_factory.mktemp("priors") / "priors.fits"
    write_priors(path, np.array([target]), np.array([z]), np.array([width]))
    grid = 10 ** np.arange(np.log10(1.05), np.log10(8), 5e-4) - 1
    with numpy_as_redrock_knows_it():
        penalty = reader.Priors(str(path)).eval(target, grid)
    allowed = np.abs(grid - z) < width / 2
    # redrock raises a wall on the points next to the allowed ones, and forgets the rest
    wall = np.zeros(len(grid), dtype=bool)
    inside = np.flatnonzero(allowed)
    if len(inside):
        wall[[max(inside[0] - 1, 0), min(inside[-1] + 1, len(grid) - 1)]] = True
    assert np.isinf(penalty[wall]).all()
    assert (penalty[allowed & ~wall] == 0).all()
    assert np.isnan(penalty[~allowed & ~wall]).all()


def test_too_few_redshifts_to_try():
    grid = np.array([1.0, 1.1, 1.2, 1.3])
    priors = Priors(np.array([[1.15], [0.9], [1.0]]), np.array([[0.4], [0.1], [0.25]]))
    kept = clear_priors(priors, (grid, grid + 10), least=2)
    assert kept.present[:, 0].tolist() == [True, False, True]
    assert clear_priors(priors, (grid,), least=3).present[:, 0].tolist() == [True, False, False]


def test_runs_hold_one_prior_per_target():
    z = np.array([[1.0, 2.0], [1.5, np.nan], [1.0, np.nan], [np.nan, np.nan]])
    runs = plan_runs(np.array([5, 6, 5, 7]), Priors(z, z * 0 + 0.1))
    assert [run.target_id.tolist() for run in runs] == [[5, 6], [5]]
    assert [run.z.tolist() for run in runs] == [[1.0, 1.5], [2.0]]
    assert [run.prior for run in runs] == [0, 1]


def test_many_targets_are_cut_to_what_a_command_line_can_hold():
    n = 9000
    runs = plan_runs(np.arange(n), Priors(np.ones((n, 1)), np.ones((n, 1))))
    assert [len(run.target_id) for run in runs] == [4000, 4000, 1000]
    assert sorted(np.concatenate([run.target_id for run in runs]).tolist()) == list(range(n))


class TestTemplates:
    def test_both_are_found(self, template_files):
        found = find_quasar_templates([template_files])
        assert [t.subtype for t in found] == ["HIZ", "LOZ"]
        assert found[0].redshifts[0] == pytest.approx(1.4)
        assert all(len(t.sha256) == 64 for t in found)

    def test_environment_names_the_folder(self, template_files, monkeypatch):
        monkeypatch.setenv("RR_TEMPLATE_DIR", str(template_files))
        assert len(find_quasar_templates()) == 2
        monkeypatch.setenv("RR_TEMPLATE_DIR", str(template_files / "nowhere"))
        with pytest.raises(RedrockError, match="templates are not in"):
            find_quasar_templates()

    def test_one_missing_is_an_error(self, tmp_path):
        write_template(tmp_path / "rrtemplate-QSO-HIZ-v1.1.fits", "HIZ", 1.4, 7)
        with pytest.raises(RedrockError, match=r"0 quasar templates LOZ.*found rrtemplate-QSO-HIZ"):
            find_quasar_templates([tmp_path])

    def test_none_is_an_error(self, tmp_path):
        with pytest.raises(RedrockError, match=r"0 quasar templates HIZ.*found none"):
            find_quasar_templates([tmp_path])

    def test_two_versions_need_a_choice(self, tmp_path, template_files):
        for version in ("v1.0", "v1.1"):
            write_template(tmp_path / f"rrtemplate-QSO-HIZ-{version}.fits", "HIZ", 1.4, 7)
        write_template(tmp_path / "rrtemplate-QSO-LOZ-v1.1.fits", "LOZ", 0.05, 1.6)
        with pytest.raises(RedrockError, match="2 quasar templates HIZ"):
            find_quasar_templates([tmp_path])
        # redrock's own list of what is in use decides
        listed = "# ours\nrrtemplate-QSO-HIZ-v1.1.fits new\n\nrrtemplate-QSO-LOZ-v1.1.fits\n"
        (tmp_path / "templates-default.txt").write_text(listed + "rrtemplate-GALAXY-None.fits\n")
        assert [t.path.name for t in find_quasar_templates([tmp_path])] == [
            "rrtemplate-QSO-HIZ-v1.1.fits",
            "rrtemplate-QSO-LOZ-v1.1.fits",
        ]

    def test_given_files_must_be_quasars(self, tmp_path):
        path = tmp_path / "rrtemplate-GALAXY-None-v1.fits"
        write_template(path, "", 0, 1, kind="GALAXY")
        with pytest.raises(RedrockError, match="template of 'GALAXY'"):
            find_quasar_templates([path])
        with pytest.raises(RedrockError, match="no template"):
            find_quasar_templates([tmp_path / "absent.fits"])

    def test_redrocks_own(self, qso_templates):
        found = find_quasar_templates(qso_templates)
        low = min(t.redshifts.min() for t in found)
        high = max(t.redshifts.max() for t in found)
        assert (low, high) == (pytest.approx(0.05), pytest.approx(6.993, abs=1e-3))
        again = find_quasar_templates([qso_templates[0].parent])
        assert [t.version for t in again] == ["1.1", "1.1"]
