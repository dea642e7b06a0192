"""What `import quasarloop` promises is there, and quick to import."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import quasarloop
from quasarloop.errors import WeightsError
from quasarloop.network.options import TrainingOptions


@pytest.mark.parametrize("name", quasarloop.__all__)
def test_every_promised_name_is_there(name):
    assert getattr(quasarloop, name) is not None


def test_no_promised_name_is_hidden_by_a_room_of_that_name():
    from quasarloop import __file__ as front

    rooms = {path.stem for path in Path(front).parent.iterdir() if not path.name.startswith("_")}
    assert not rooms & set(quasarloop.__all__)
    assert dir(quasarloop) == sorted(quasarloop.__all__)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        quasarloop.nonsense  # noqa: B018 -- the access is the test


def test_import_is_light():
    code = "import quasarloop, sys; print('torch' in sys.modules, 'matplotlib' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]


def test_help_is_light():
    code = (
        "import sys; from quasarloop.cli import app; from typer.testing import CliRunner;"
        "r = CliRunner().invoke(app, ['--help']); print(r.exit_code, 'torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["0", "False"]


def test_notebook_way_from_real_files_to_a_catalogue(shared_data, tmp_path):
    plate = shared_data / "boss_plate7102"
    truth = quasarloop.read_truth(plate / "truth.csv")
    files = sorted(plate.glob("spec-*.fits"))[:12]
    options = TrainingOptions(epochs=1, monitor="none")
    small = {"network": "green2025", "n_filters": 4}
    result = quasarloop.train(files, truth, options=options, **small)
    quasarloop.write_weights(result.weights, tmp_path / "w.h5")
    table = quasarloop.classify(files, tmp_path / "w.h5", threshold=0.0)
    assert len(table) == 12
    assert np.isin(table["TARGETID"], truth.target_id).all()
    assert table["IS_QSO"].all()  # every confidence is above 0
    assert str(table["TARGET_RA"].unit) == "deg"


def test_notebook_way_from_given_weights(shared_data):
    plate = shared_data / "boss_plate7102"
    truth, files = quasarloop.read_truth(plate / "truth.csv"), sorted(plate.glob("spec-*.fits"))[:8]
    once = TrainingOptions(epochs=1)
    small = {"network": "green2025", "n_filters": 4}
    first = quasarloop.train(files, truth, options=once, **small).weights
    more = quasarloop.train(files, truth, start=first, options=once, dropout=0.5).weights
    options = quasarloop.FinetuneOptions(epochs=1, rehearsal=1)
    tuned = quasarloop.finetune(files, truth, start=first, options=options).weights
    for weights in (more, tuned):
        assert weights.provenance["first_weights_sha256"] != "random"
        assert weights.config.n_filters == 4
    assert more.config.dropout == 0.5
    assert tuned.provenance["n_rehearsal_rows"] == 8
    with pytest.raises(WeightsError, match=r"n_filters=5: .*shape.*preset"):
        quasarloop.train(files, truth, start=first, options=once, n_filters=5)


def test_heads_are_one_number_away(shared_data, tmp_path):
    plate = shared_data / "boss_plate7102"
    truth, files = quasarloop.read_truth(plate / "truth.csv"), sorted(plate.glob("spec-*.fits"))
    once = TrainingOptions(epochs=1)
    small = {"network": "green2025", "n_filters": 4}
    trunk = quasarloop.train(files[:8], truth, options=once, **small).weights
    ensemble = quasarloop.train_ensemble(files, truth, tmp_path / "e", heads=5, start=trunk)
    assert (ensemble.kind, len(ensemble)) == ("heads", 5)
    assert ensemble.record["members"][0]["digest"] == trunk.digest()
    for number in ({}, {"heads": 5, "networks": 2}):
        with pytest.raises(WeightsError, match="give the number of one of them"):
            quasarloop.train_ensemble(files, truth, tmp_path / "f", **number)
