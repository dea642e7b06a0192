"""Real redrock on a handful of objects, as library and as program; desispec's own step beside."""

import os
import subprocess
import sys
from importlib.metadata import version

import fitsio
import numpy as np
import pytest

from quasarloop.afterburner.network_step import load_network
from quasarloop.afterburner.output import read_output
from quasarloop.afterburner.redrock_file import find_rows
from quasarloop.afterburner.redrock_run import (
    Priors,
    RedrockOptions,
    has_redrock,
    plan_runs,
    run_redrock,
)
from quasarloop.afterburner.reruns import RerunBit, todays_width
from quasarloop.afterburner.tiles import AfterburnerOptions, run_tile
from quasarloop.errors import RedrockError
from quasarloop.network.weights import default_weights_path
from quasarloop.read import read_truth
from quasarloop.simulate.model import ModelSky
from quasarloop.simulate.survey import SurveyOptions, read_survey_file, simulate_survey

pytestmark = [
    pytest.mark.redrock,
    # Redrock leaves files open when it fails, and has warnings of its own.
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        not has_redrock(), reason="redrock and desispec are absent: pip install quasarloop[redrock]"
    ),
]

N = 6
# Bright quasars, all of which the file beside the coadd has as galaxies; one sky fibre among them
# would be one too many to be rerun.
SKY = """
[quasars]
weight = 1.0
[quasars.r_mag]
knots = [18.5, 19.5]
[galaxies]
weight = 0.0
[stars]
weight = 0.0
[redrock]
qso_as_galaxy = 1.0
qso_as_star = 0.0
qso_wrong_line = 0.0
[faults]
masked_arm = 0.0
corrupted_third = 0.0
blend = 0.0
arm_step = 0.0
sky_residuals = 0.0
sky_fibre = 0.2
"""
# The first line is for redrock 0.21.0 under numpy 2 (afterburner/launch_redrock.py).
DESISPEC = """
import numpy; vars(numpy).setdefault("NaN", numpy.nan)
import sys
from desispec.scripts.qsoqn import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    folder = tmp_path_factory.mktemp("survey")
    (folder / "sky.toml").write_text(SKY)
    population, observing = read_survey_file(folder / "sky.toml")
    sky = ModelSky(population)
    plan = SurveyOptions(
        folder / "out",
        seed=4,
        source=sky,
        observing=observing,
        with_resolution=True,
    )
    simulate_survey(plan, N)
    return plan.out


@pytest.fixture(scope="module")
def files(survey):
    return [next(survey.rglob(f"{kind}-*.fits")) for kind in ("coadd", "redrock")]


@pytest.fixture(scope="module")
def by_library(files, qso_templates, tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    scratch = folder / "scratch"
    scratch.mkdir()
    settings = AfterburnerOptions(
        policy="ours", rerun="library", templates=qso_templates, scratch=scratch
    )
    run_tile(*files, folder / "qso_qn.fits", load_network(), settings)
    assert list(scratch.iterdir()) == []
    return read_output(folder / "qso_qn.fits")


def test_missed_quasars_come_back_at_their_redshifts(by_library, survey):
    table = by_library.table
    truth = read_truth(survey / "truth.csv")
    assert table["TARGETID"].tolist() == truth.target_id.tolist()
    quasar = truth.spectype == 2
    assert 3 <= quasar.sum() < N  # and at least one sky fibre
    assert (table["SPECTYPE_RR"].astype(str) == "GALAXY").all()
    assert table["IS_QSO_QN_NEW_RR"].tolist() == quasar.tolist()
    assert (table["RERUN_BITS"][~quasar] & RerunBit.NOT_TARGET).all()
    assert (table["SPECTYPE"][quasar].astype(str) == "QSO").all()
    away = np.abs(table["Z"] - truth.z)[quasar] / (1 + truth.z[quasar])
    assert (away < 0.01).all(), away
    assert (table["ZWARN"][quasar] == table["ZWARN_NEW"][quasar]).all()


def test_the_header_names_redrock_and_its_templates(by_library):
    said = by_library.recipe["redrock"]
    assert said["version"] == version("redrock")
    assert sorted(said["used"]) == ["QSO:::HIZ 1.1", "QSO:::LOZ 1.1"]
    assert [t["name"] for t in said["templates"]] == [
        "rrtemplate-QSO-HIZ-v1.1.fits",
        "rrtemplate-QSO-LOZ-v1.1.fits",
    ]


def test_the_program_says_the_same(by_library, files, qso_templates, tmp_path):
    settings = AfterburnerOptions(rrdesi=sys.executable, templates=qso_templates)
    run_tile(*files, tmp_path / "o.fits", load_network(), settings)
    table = read_output(tmp_path / "o.fits").table
    for name in table.dtype.names:
        np.testing.assert_array_equal(table[name], by_library.table[name], err_msg=name)


def test_what_redrock_cannot_read_is_said(files, qso_templates, tmp_path):
    """Without RESOLUTION matrices redrock stops; nothing is left behind."""
    coadd = tmp_path / "coadd.fits"
    copy_without(files[0], coadd, lambda name: name.endswith("RESOLUTION"))
    settings = AfterburnerOptions(
        policy="today", rerun="library", templates=qso_templates, scratch=tmp_path
    )
    before = sorted(tmp_path.iterdir())
    with pytest.raises(RedrockError, match="redrock failed"):
        run_tile(coadd, files[1], tmp_path / "o.fits", load_network(), settings)
    assert sorted(tmp_path.iterdir()) == before


def test_a_missing_arm_is_no_obstacle(files, qso_templates, tmp_path):
    coadd = tmp_path / "coadd.fits"
    copy_without(files[0], coadd, lambda name: name.startswith("B_"))
    settings = AfterburnerOptions(policy="today", rerun="library", templates=qso_templates)
    run_tile(coadd, files[1], tmp_path / "o.fits", load_network(), settings)
    table = read_output(tmp_path / "o.fits").table
    assert len(table) == N
    assert (table["RERUN_BITS"] & RerunBit.RERUN).any()
    again = table["IS_QSO_QN_NEW_RR"]
    assert np.isfinite(table["Z_NEW"][again]).all()
    assert not (table["RERUN_BITS"] & RerunBit.NO_ANSWER).any()


def test_deltachi2_is_that_of_the_wide_run(by_library, files, qso_templates, tmp_path):
    """With its χ² taken over, the narrow run finds what it finds alone; DELTACHI2 is the wide's."""
    rows = by_library.table[(by_library.table["RERUN_BITS"] & RerunBit.RERUN) != 0]
    found = {}
    for name, wide in (("narrow", False), ("wide", True)):
        width = todays_width(load_network().predictor.config) * (1 + rows["PRIOR_Z"][:, :1])
        width = np.fmax(rows["PRIOR_WIDTH"][:, :1], width) if wide else rows["PRIOR_WIDTH"][:, :1]
        runs = plan_runs(rows["TARGETID"], Priors(rows["PRIOR_Z"][:, :1], width))
        options = RedrockOptions(rerun="library", templates=tuple(qso_templates))
        (fits,) = run_redrock(files[0], runs, options)
        place = find_rows(rows["TARGETID"], fits.target_id)
        found[name] = (fits.z[place], fits.chi2[place], fits.deltachi2[place])
    alone = np.isnan(rows["PRIOR_Z"][:, 1])
    assert alone.any()
    np.testing.assert_array_equal(rows["Z_NEW"][alone], found["narrow"][0][alone])
    same = alone & (np.abs(found["wide"][0] - found["narrow"][0]) < 1e-6)  # bright: the same fit
    assert same.any()
    np.testing.assert_allclose(rows["DELTACHI2_NEW"][same], found["wide"][2][same], rtol=1e-3)


def copy_without(old_path, new_path, left_out):
    with fitsio.FITS(old_path) as old, fitsio.FITS(new_path, "rw") as new:
        new.write(None, header=old[0].read_header())
        for hdu in old[1:]:
            if not left_out(hdu.get_extname()):
                new.write(hdu.read(), extname=hdu.get_extname(), header=hdu.read_header())


@pytest.mark.skipif(
    not os.environ.get("QUASARNP_DIR"),
    reason="desispec's step needs QuasarNP: set QUASARNP_DIR to a checkout",
)
@pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) >= "2.4.0",
    reason="desispec 0.70's step fails under numpy 2.4: pip install 'numpy<2.4'",
)
def test_desispecs_own_step_writes_the_same_columns(files, qso_templates, tmp_path):
    """Same file, same weights, today's policy: names, types, order, and every value."""
    theirs, ours = tmp_path / "theirs.fits", tmp_path / "ours.fits"
    words = ["--coadd", files[0], "--redrock", files[1], "--output", theirs, "--target_selection"]
    words += ["all", "--save_target", "all", "--templates", *qso_templates]
    environment = {
        **os.environ,
        "QN_MODEL_FILE": str(default_weights_path()),
        "PYTHONPATH": os.environ["QUASARNP_DIR"],
        "RR_TEMPLATE_DIR": str(qso_templates[0].parent),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", DESISPEC, *map(str, words)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    settings = AfterburnerOptions(
        policy="today", rerun="library", templates=qso_templates, red_end="clamp"
    )
    run_tile(*files, ours, load_network(), settings)
    schemas, tables = [], []
    for path in (theirs, ours):
        with fitsio.FITS(path) as fits:
            header = fits["QN_RR"].read_header()
            tables.append(fits["QN_RR"].read())
        n = header["TFIELDS"]
        schemas.append([(header[f"TTYPE{i}"], header[f"TFORM{i}"]) for i in range(1, n + 1)])
    assert schemas[1][: len(schemas[0])] == schemas[0]
    for name in tables[0].dtype.names:
        a, b = (table[name] for table in tables)
        if a.dtype.kind == "f":
            np.testing.assert_allclose(b, a, rtol=2e-4, atol=2e-5, err_msg=name)
        else:
            assert a.tolist() == b.tolist(), name
