"""The survey's own programs read our files: desispec and redrock (extra ``[redrock]``).

They run as programs of their own, as at the survey; nothing of ours is imported there.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import fitsio
import numpy as np
import pytest

from quasarloop.read import read_truth
from quasarloop.simulate.model import ModelSky
from quasarloop.simulate.survey import SurveyOptions, read_survey_file, simulate_survey
from quasarloop.truth import SpecType

pytestmark = [
    pytest.mark.redrock,
    pytest.mark.skipif(
        importlib.util.find_spec("redrock") is None or importlib.util.find_spec("desispec") is None,
        reason="redrock and desispec are absent: pip install quasarloop[redrock]",
    ),
]

# Bright, without faults: whether redrock is right must not depend on luck. The galaxies have
# emission lines: early galaxy templates are made of such galaxies.
SKY = """
[quasars]
weight = 1.0
[quasars.r_mag]
knots = [18.0, 19.0]
[galaxies]
weight = 0.8
[galaxies.r_mag]
knots = [18.5, 19.5]
[galaxies.passive]
weight = 0.0
redshift = {knots = [0.1, 0.5]}
[galaxies.post_starburst]
weight = 0.0
redshift = {knots = [0.1, 0.5]}
[galaxies.type2_agn]
weight = 0.0
redshift = {knots = [0.1, 0.5]}
[stars]
weight = 0.6
[stars.kinds]
F = 1.0
G = 1.0
K = 1.0
[stars.r_mag]
knots = [17.0, 18.5]
[faults]
masked_arm = 0
corrupted_third = 0
sky_fibre = 0
blend = 0
arm_step = 0
sky_residuals = 0
[observing]
exposures = 2
"""
N = 9

READ = """
import json, sys
from desispec.io import read_spectra
s = read_spectra(sys.argv[1])
print("RESULT" + json.dumps({
    "rows": s.num_spectra(), "bands": s.bands, "ids": [int(i) for i in s.fibermap["TARGETID"]],
    "exposures": None if s.exp_fibermap is None else len(s.exp_fibermap),
    "ndiag": {b: s.resolution_data[b].shape[1] for b in s.bands},
    "mean": {b: float(s.flux[b].mean()) for b in s.bands},
    "good": {b: int((s.ivar[b] > 0).sum()) for b in s.bands},
    "scores": "MEDIAN_COADD_SNR_B" in s.scores.colnames if s.exp_fibermap is not None else None,
}))
"""


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("external")
    (folder / "sky.toml").write_text(SKY)
    population, observing = read_survey_file(folder / "sky.toml")
    sky = ModelSky(population)
    plan = SurveyOptions(
        folder / "out",
        seed=12,
        source=sky,
        observing=observing,
        with_resolution=True,
    )
    simulate_survey(plan, N)
    return plan.out


@pytest.fixture(scope="module")
def templates() -> str:
    """The folder of all of redrock's templates; skips with a reason where it is not named."""
    folder = os.environ.get("RR_TEMPLATE_DIR")
    if not folder:
        pytest.skip("RR_TEMPLATE_DIR does not name a checkout of desihub/redrock-templates")
    return folder


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(  # the interpreter running the tests, and its own rrdesi
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize(("kind", "per_object"), [("coadd", 1), ("spectra", 2)])
def test_desispec_reads_our_files(survey: Path, kind: str, per_object: int) -> None:
    path = next(survey.rglob(f"{kind}-*.fits"))
    said = run(sys.executable, "-c", READ, path)
    found = json.loads(said.split("RESULT")[1])
    assert found["rows"] == per_object * N
    assert found["bands"] == ["b", "r", "z"]
    assert set(found["ids"]) == set(read_truth(survey / "truth.csv").target_id.tolist())
    assert set(found["ndiag"].values()) == {11}
    with fitsio.FITS(path) as fits:
        for band in "brz":
            flux, ivar = (fits[f"{band.upper()}_{what}"].read() for what in ("FLUX", "IVAR"))
            assert np.isclose(found["mean"][band], flux.mean(), rtol=1e-3)
            assert found["good"][band] == np.count_nonzero(ivar > 0)
    if kind == "coadd":
        assert found["exposures"] == 2 * N
        assert found["scores"]


def test_redrock_gets_bright_objects_right(survey: Path, templates: str, tmp_path: Path) -> None:
    coadd = next(survey.rglob("coadd-*.fits"))
    output = tmp_path / "redrock.fits"
    program = Path(sys.executable).parent / "rrdesi"
    run(program, "-i", coadd, "-o", output, "--mp", "2", RR_TEMPLATE_DIR=templates)
    said = fitsio.read(output, ext="REDSHIFTS")
    truth = read_truth(survey / "truth.csv")
    assert sorted(said["TARGETID"].tolist()) == sorted(truth.target_id.tolist())
    said = said[np.argsort(said["TARGETID"])]
    truth = truth[np.argsort(truth.target_id)]
    assert {*truth.spectype.tolist()} == {0, 1, 2}
    classes = [SpecType[word] for word in np.char.strip(said["SPECTYPE"].astype(str))]
    assert classes == truth.spectype.tolist()
    assert not said["ZWARN"].any()
    away = np.abs(said["Z"] - truth.z) / (1 + truth.z)
    # 0.01 is 3000 km/s: redrock's quasar redshifts follow the broad lines' shifts.
    limit = np.select([truth.spectype == 2, truth.spectype == 1], [0.01, 0.001], 0.0005)
    assert np.all(away < limit), list(zip(truth.spectype, truth.z, said["Z"], strict=True))
