"""Files that are no weights, are cut, garbled, huge or refer to other files."""

import json
import os

import h5py
import numpy as np
import pytest
from tests.network.weights_files import change, rebuild

from quasarloop.errors import GridError, WeightsError
from quasarloop.network.weights import (
    read_thresholds,
    read_weights,
)


def huge_grid(file):
    del file["model_grid"]
    # Declared, never written: the file stays small.
    file.create_dataset("model_grid", (1 << 29,), "f8", chunks=(1 << 16,))


def huge_array(file):
    file.create_dataset("model_weights/conv_1/more:0", (1 << 20, 1 << 20), "f4", chunks=True)


def huge_chunk(file):
    chunks = (1 << 14, 1 << 14)
    file.create_dataset(
        "model_weights/conv_1/more:0", (3, 3), "f4", chunks=chunks, maxshape=(None, None)
    )


def external_link(file):
    file["model_weights/conv_1/more:0"] = h5py.ExternalLink("other.h5", "/kernel")


def external_storage(file):
    where = [("other.bin", 0, 16)]
    file.create_dataset("model_weights/conv_1/more:0", (4,), "f4", external=where)


def virtual(file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "kernel", (4,))
    file.create_virtual_dataset("model_weights/conv_1/more:0", layout)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (huge_grid, "need 4,0.. MiB; a network has a few"),
        (huge_array, "MiB; a network has a few"),
        (huge_chunk, "MiB; a network has a few"),
        (external_link, "numbers of model_weights/conv_1/more:0 are in another file"),
        (external_storage, "numbers of model_weights/conv_1/more:0 are in another file"),
        (virtual, "are in another file; expected all weights in one file"),
    ],
)
def test_what_is_not_in_the_file_or_fills_the_memory_is_refused(ours, action, words):
    size = ours.stat().st_size
    path = change(ours, action)
    assert path.stat().st_size < size + 100_000
    with pytest.raises(WeightsError, match=rf"ours\.h5: .*{words}"):
        read_weights(path)


@pytest.mark.parametrize(
    "note", ["[]", "null", '"text"', "3", '{"provenance": []}', '{"config": null}', "{", "[" * 9999]
)
def test_notes_that_are_no_objects_are_refused(ours, note):
    def action(file):
        file.attrs.create("quasarloop", note, dtype=h5py.string_dtype())

    change(ours, action)
    for read in (read_weights, read_thresholds):
        with pytest.raises(WeightsError, match=r"ours\.h5"):
            read(ours)


@pytest.mark.parametrize(("part", "name"), [("grid", "n_bins"), (None, "n_conv")])
def test_huge_numbers_in_a_note_end_at_once(ours, part, name):
    def action(file):
        note = json.loads(file.attrs["quasarloop"])
        (note["config"] if part is None else note["config"][part])[name] = 10**12
        file.attrs["quasarloop"] = json.dumps(note)

    with pytest.raises((WeightsError, GridError), match="1000000000000"):
        read_weights(change(ours, action))


def test_pipes_are_no_weights(tmp_path):
    os.mkfifo(tmp_path / "w.h5")
    for read in (read_weights, read_thresholds):
        with pytest.raises(WeightsError, match=r"w\.h5.*a pipe or a device"):
            read(tmp_path / "w.h5")


def keras_3_h5(path):
    with h5py.File(path, "w") as file:
        file.create_group("layers/conv1d/vars")["0"] = np.zeros(3)


def keras_3_names(path):
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "{}"
        file["model_weights/conv_1/conv_1/kernel"] = np.zeros((10, 1, 4), "f4")


def keras_3_zip(path):
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")


def weights_only(path):
    with h5py.File(path, "w") as file:
        file["conv_1/conv_1/kernel:0"] = np.zeros((10, 1, 4), "f4")


def no_config(path):
    with h5py.File(path, "w") as file:
        file["model_weights/conv_1/conv_1/kernel:0"] = np.zeros((10, 1, 4), "f4")


def broken_config(path):
    no_config(path)
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = '{"config": 3}'


def not_a_network(path):
    no_config(path)
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = '{"config": {"layers": [{"config": {"name": "conv_1"}}]}}'


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (keras_3_h5, "Keras 3 file.*Keras 2"),
        (keras_3_names, "Keras 3 name .*Keras 2"),
        (keras_3_zip, "Keras 3 archive.*Keras 2"),
        (weights_only, "has no model_weights.*not save_weights"),
        (no_config, "has no model_config"),
        (broken_config, "not that of a Keras model"),
        (not_a_network, "lacks fc_common"),
        (lambda path: path.write_text("not HDF5 at all"), "cannot be read as HDF5"),
        (lambda path: path.write_bytes(b""), "cannot be read as HDF5"),
        (lambda path: path.mkdir(), "a folder, not a file"),
        (lambda path: None, "no such weights file"),
    ],
)
def test_files_that_are_no_weights_say_so(tmp_path, make, words):
    path = tmp_path / "odd.h5"
    make(path)
    with pytest.raises(WeightsError, match=words) as caught:
        read_weights(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_truncated_files_are_refused(ours, part):
    content = ours.read_bytes()
    ours.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(WeightsError, match=r"cut short|cannot be read"):
        read_weights(ours)


@pytest.mark.parametrize(
    "settings",
    [{"strides": ["two"]}, {"strides": []}, {"strides": {}}, {"name": None}],
)
def test_garbled_settings_are_refused(ours, settings):
    path = rebuild(ours, edit=lambda layers: layers[1]["config"].update(settings))
    with pytest.raises(WeightsError):
        read_weights(path)


@pytest.mark.parametrize("layers", [3, [3], [[]], [{}], [{"config": 1}], [{"config": {}}], {}])
def test_garbled_layers_are_refused(ours, layers):
    def action(file):
        file.attrs["model_config"] = json.dumps({"config": {"layers": layers}})

    with pytest.raises(WeightsError, match=str(ours)):
        read_weights(change(ours, action))
