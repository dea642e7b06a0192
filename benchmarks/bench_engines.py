"""Other engines for the network, beside torch: spectra per second, and whether they agree.

The folded network is written in ONNX, operation by operation, and run by ONNX Runtime and by
OpenVINO, in blocks of as many rows as torch's; its redshift head is torch's everywhere. One thread
each, processor time, in turn. Engines that are not installed are left out.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from quasarloop.catalogue import classify
from quasarloop.catalogue.classify import classify_to_file, read_catalogue
from quasarloop.network.model import Layers, Logits, head_logits
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import default_weights_path, read_weights
from quasarloop.quality import prepare_all
from quasarloop.read import find_files, read_spectra
from quasarloop.simulate.model import ModelSky
from quasarloop.simulate.population import Population
from quasarloop.simulate.survey import SurveyOptions, simulate_survey

_OPSET, _IR = 17, 10  # read by both
_FASTER = 1.1  # an engine this much faster from file to catalogue would be worth an extra
_INSTALL = "pip install --group engines"

# Rows of spectra -> outputs as `onnx_model` lists them.
Run = Callable[[np.ndarray], Sequence[np.ndarray]]


def run(quick: bool) -> list[dict[str, Any]]:
    n, turns = (128, 2) if quick else (1000, 9)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1), tempfile.TemporaryDirectory() as folder:
            sky = Path(folder) / "sky"
            options = SurveyOptions(sky, seed=1, source=ModelSky(Population()))
            simulate_survey(options, n)
            return _measure(sky, turns)
    finally:
        torch.set_num_threads(before)


def predictors() -> dict[str, type[Predictor]]:
    """Return a kind of `Predictor` for every engine there is, torch first."""
    found: dict[str, type[Predictor]] = {"torch": Predictor}
    for name, (package, start) in _ENGINES.items():
        try:
            for needed in ("onnx", package):
                import_module(needed)
        except ImportError as exc:
            print(f"{name} is left out: {exc}; {_INSTALL}", file=sys.stderr)
        else:
            found[name] = _predictor(start)
    return found


def _measure(sky: Path, turns: int) -> list[dict[str, Any]]:
    weights = read_weights(default_weights_path())
    ready = {name: kind(weights, "cpu") for name, kind in predictors().items()}
    flux = prepare_all([read_spectra(p) for p in find_files([sky])], weights.config.grid).flux
    times = {(name, what): [] for name in ready for what in ("network alone", "file to catalogue")}
    for _ in range(turns + 1):
        for name, predictor in ready.items():
            start = time.process_time()
            predictor.predict(flux, redshifts=True)
            middle = time.process_time()
            with mock.patch.object(classify, "Predictor", return_value=predictor):
                classify_to_file([sky], sky.with_name(f"{name}.fits"), overwrite=True)
            times[name, "network alone"].append(middle - start)
            times[name, "file to catalogue"].append(time.process_time() - middle)
    rows = []
    for (name, what), seconds in times.items():
        if name == "torch":
            continue
        ours, torchs = (np.array(s[1:]) for s in (seconds, times["torch", what]))  # the first warms
        faster = np.count_nonzero(torchs >= _FASTER * ours)
        agree = _agreement(sky.with_name(f"{name}.fits"), sky.with_name("torch.fits"))
        rows.append(
            {
                "name": f"{name}, {what}, 1 thread",
                "ours_per_s": len(flux) / ours.min(),
                "reference_per_s": len(flux) / torchs.min(),
                "ratio": torchs.min() / ours.min(),
                "reference": f"torch; {np.median(torchs) / np.median(ours):.2f} by medians, "
                f"{_FASTER} and more in {faster} of {turns} turns; {agree}",
            }
        )
    return rows


def _agreement(one: Path, other: Path) -> str:
    a, b = (read_catalogue(path) for path in (one, other))
    apart = max(np.nanmax(np.abs(a[name] - b[name])) for name in a if name.startswith("C_"))
    differ = np.count_nonzero(a["IS_QSO"] != b["IS_QSO"])
    return f"confidences to {apart:.0e}, IS_QSO of {differ} differ"


def _predictor(start: Callable[[bytes], Run]) -> type[Predictor]:
    """Return a `Predictor` whose passes that engine makes."""

    class Other(Predictor):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self.run = start(onnx_model(self))

        def _forward(self, layers: Layers, x: torch.Tensor) -> Logits:
            rows = np.zeros((self._block_rows, x.shape[1]), np.float32)  # always as many
            rows[: len(x)] = x.numpy()
            both, hidden, *maps = (torch.from_numpy(a[: len(x)]) for a in self.run(rows))
            shape = (len(x), 2, self.config.n_lines, self.config.n_boxes)
            with torch.inference_mode():
                head = layers.redshift
                log_p = None if head is None else head_logits(maps, hidden, *head)
            return Logits(*both.view(shape).unbind(1), log_p, hidden)

    return Other


def onnx_model(predictor: Predictor) -> bytes:
    """Return the network up to its redshift head, in ONNX, for a block of rows.

    Outputs: boxes and offsets as one, what all heads read, and the maps of the redshift head.
    """
    from onnx import TensorProto, checker, helper, numpy_helper  # noqa: PLC0415

    config, layers = predictor.config, predictor.layers
    nodes, arrays, maps = [], {}, []

    def node(kind: str, given: str, made: str, **how: Any) -> None:
        nodes.append(helper.make_node(kind, given.split(), [made], **how))

    def value(name: str, *shape: int) -> Any:
        of_block = [predictor._block_rows, *shape]
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, of_block)

    arrays |= {"places": np.array([1, 2]), "height": np.array([2])}
    node("Unsqueeze", "flux places", "x0")  # images of height 1
    *convs, dense = layers.trunk
    for number, (conv, pad) in enumerate(zip(convs, config.paddings(), strict=True), 1):
        weight = conv.weight.reshape(len(conv.bias), -1, 1, config.kernel_width)
        arrays |= {f"w{number}": weight.numpy(), f"b{number}": conv.bias.numpy()}
        node("Conv", f"x{number - 1} w{number} b{number}", f"c{number}",
             strides=[1, config.stride], pads=[0, pad.left, 0, pad.right])  # fmt: skip
        node("Relu", f"c{number}", f"x{number}")
        if config.redshift is not None and number in config.redshift.maps:
            node("Squeeze", f"x{number} height", f"s{number}")
            node("Transpose", f"s{number}", f"m{number}", perm=[0, 2, 1])
            maps.append(value(f"m{number}", config.widths[number], config.n_filters))
    arrays |= {"w": dense.weight.numpy(), "b": dense.bias.numpy()}
    node("Transpose", f"x{len(convs)}", "last", perm=[0, 2, 3, 1])
    node("Flatten", "last", "features")
    node("Gemm", "features w b", "d", transB=1)
    node("Relu", "d", "hidden")
    (both,) = layers.heads
    arrays |= {"w_both": both.weight.numpy(), "b_both": both.bias.numpy()}
    node("Gemm", "hidden w_both b_both", "both", transB=1)
    outputs = [value("both", len(both.bias)), value("hidden", config.n_dense), *maps]
    stored = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    given = [value("flux", config.grid.n_bins)]
    graph = helper.make_graph(nodes, "line finder", given, outputs, stored)
    opsets = [helper.make_opsetid("", _OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR)
    checker.check_model(model)
    return model.SerializeToString()


def _in_onnxruntime(model: bytes) -> Run:
    import onnxruntime  # noqa: PLC0415 -- not installed everywhere

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda rows: session.run(None, {"flux": rows})


def _in_openvino(model: bytes) -> Run:
    import openvino  # noqa: PLC0415 -- not installed everywhere

    core = openvino.Core()
    # Some processors are given bfloat16 unless float32 is wanted.
    options = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(model), "CPU", options)
    request = compiled.create_infer_request()
    # Copies: the next run writes to the same memory.
    return lambda rows: [a.copy() for a in request.infer([rows], share_inputs=True).values()]


_ENGINES = {
    "ONNX Runtime": ("onnxruntime", _in_onnxruntime),
    "OpenVINO": ("openvino", _in_openvino),
}
