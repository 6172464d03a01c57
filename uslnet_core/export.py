"""A segmenter as one ONNX file, for onnxruntime on any machine: exported, run, in half the bytes, in a quarter.

The packages are an extra, so they are imported where they are used. Knows of no masks but those that are predicted.
"""

from __future__ import annotations

import copy
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from uslnet_core.errors import ConfigError
from uslnet_core.segmenter import Segmenter

if TYPE_CHECKING:
    from onnx import ModelProto

NEEDED = ("onnx", "onnxscript", "onnxruntime")
IMAGES, PROBABILITY = "images", "probability"  # names of the file's input and output


class Answer(nn.Module):
    """A segmenter that answers with probabilities, as the exported file does."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Give (N, S, S) float32 in [0, 1] for images, (N, 3, S, S) float32 in [0, 1]."""
        return torch.sigmoid(self.model(images))


def need_onnx() -> None:
    """Check that the extra's packages are there.

    Raises:
        ConfigError: one is not; the message has the command that installs them.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise ConfigError(
            f"Export to ONNX needs {', '.join(missing)}, which {'are' if missing[1:] else 'is'} not installed. Install "
            'the extra, in the folder of the project:\n  python -m pip install -e ".[onnx]"'
        )


def to_onnx(model: Segmenter, size: int) -> ModelProto:
    """Export a segmenter in float32: ``images`` (N, 3, S, S) in [0, 1] to ``probability`` (N, S, S), for any N.

    Args:
        model: a trained segmenter; it is not changed.
        size: side of its input, pixels.
    """
    answer = Answer(copy.deepcopy(model).cpu().float()).eval()
    shapes = {IMAGES: {0: torch.export.Dim("batch")}}
    example = (torch.rand(2, 3, size, size),)
    with quietly():
        program = torch.onnx.export(
            answer,
            example,
            input_names=[IMAGES],
            output_names=[PROBABILITY],
            dynamic_shapes=shapes,
            dynamo=True,
            verbose=False,
        )
    return without_traces(program.model_proto)


def without_traces(model: ModelProto) -> ModelProto:
    """Take the exporter's notes away in place: they name folders of this machine, and take as much room as a layer."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    return model


def with_notes(model: ModelProto, notes: Mapping[str, object]) -> ModelProto:
    """Give a copy that carries notes in its ``metadata_props``, as text."""
    from onnx import helper

    noted = copy.deepcopy(model)
    helper.set_model_props(noted, {name: str(value) for name, value in notes.items()})
    return noted


def to_half(model: ModelProto) -> ModelProto:
    """Give a copy that holds weights and computes in float16; its input and output stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    with quietly():
        half = OnnxModel(convert_float_to_float16(copy.deepcopy(model), keep_io_types=True))
        half.topological_sort()  # the casts of input and output are put last, where no checker wants them
        return half.model


def to_int8(model: ModelProto, images: np.ndarray) -> ModelProto:
    """Give a copy that computes in 8-bit integers, with ranges that are taken from images. It reads no masks.

    Weights have a scale for each channel, and 7 bits, since older processors overflow with 8.

    Args:
        model: in float32.
        images: (N, 3, S, S) float32 in [0, 1], like those that it will see; some tens are enough.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.left, None)
            return None if image is None else {IMAGES: image[None]}

    with tempfile.TemporaryDirectory() as folder, quietly():
        plain, made = Path(folder) / "plain.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, plain)
        quantize_static(
            plain,
            made,
            Images(),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return without_traces(onnx.load(made))


@contextmanager
def quietly() -> Iterator[None]:
    """Keep the exporter's and the quantiser's advice to programmers from the screen."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def runner(model: ModelProto | bytes) -> Callable[[np.ndarray], np.ndarray]:
    """Open a model in onnxruntime, on one thread of the CPU.

    Returns:
        A function from images, (N, 3, S, S) float32 in [0, 1], to probabilities, (N, S, S) float32.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    whole = model if isinstance(model, bytes) else model.SerializeToString()
    session = onnxruntime.InferenceSession(whole, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run([PROBABILITY], {IMAGES: images})[0]


def as_input(squares: np.ndarray) -> np.ndarray:
    """Turn squares, (N, S, S, 3) uint8, into what the file takes: (N, 3, S, S) float32 in [0, 1]."""
    return np.ascontiguousarray(squares.transpose(0, 3, 1, 2), dtype=np.float32) / 255
