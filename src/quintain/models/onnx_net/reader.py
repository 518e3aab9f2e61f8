"""Read an ONNX file into a ``torch.nn.Module``: the onnx package parses it, nothing of it is run."""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from quintain.core.errors import ModelError, NotFoundError
from quintain.models.onnx_net.constants import FOLDED, fold
from quintain.models.onnx_net.net import OnnxNet, OperatorStep
from quintain.models.onnx_net.node import Array, ConvertedNode, Node
from quintain.models.onnx_net.operators import OPERATORS
from quintain.models.onnx_net.same_outputs import random_inputs, require_same_outputs

MIN_OPSET = 7
"""Oldest version of the operator set that is read; those before mean other things by the same names."""


def import_onnx(path: str | Path) -> OnnxNet:
    """Read a net, in evaluation mode, in the type of its input (float32 or float64).

    Its operators become torch's own layers and functions (``OPERATORS``); its first output is what it
    returns. Where onnxruntime is installed, it is held against the file at random inputs.

    Args:
        path: The file; external data beside it are read, too.

    Raises:
        NotFoundError: If there is no such file.
        ModelError: If the onnx package is not installed or cannot read the file; for an operator that is not
            imported, by name; for several inputs, sizes that are not fixed, and steps that mix examples; if
            the net answers otherwise than onnxruntime.
    """
    try:
        import onnx
    except ImportError as error:
        raise ModelError(
            f"{path} is read by the onnx package, which is not installed; run: pip install 'quintain[onnx]'"
        ) from error
    path = Path(path).expanduser()
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}; expected an ONNX model")
    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf, the onnx package and its checker have each errors of their own
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"{path} is no ONNX model: {reason}") from error
    opset = max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=0)
    if opset < MIN_OPSET:
        raise ModelError(
            f"{path} uses version {opset} of ONNX's operators; expected {MIN_OPSET} or later: before, "
            "the same names mean other things. Convert it: onnx.version_converter.convert_version(model, 17)"
        )
    net = _Reader(path, model.graph, opset, onnx.numpy_helper.to_array, onnx.helper).read()
    require_same_outputs(net, path, random_inputs(net))
    return net


class _Reader:
    """One graph, operator by operator, with the value of each for an example of zeros.

    Args:
        path: Of the file, for messages.
        graph: The graph.
        opset: Version of the operator set.
        to_array: Converts a tensor of the file.
        helper: Of the onnx package.
    """

    def __init__(
        self, path: Path, graph: Any, opset: int, to_array: Callable[[Any], Array], helper: Any
    ) -> None:
        self.path, self.graph, self.opset, self.to_array, self.helper = path, graph, opset, to_array, helper
        self.constants: dict[str, Array] = {one.name: to_array(one) for one in graph.initializer}
        self.values: dict[str, Tensor] = {}
        self.steps: list[OperatorStep] = []
        self.layers: dict[str, nn.Module] = {}
        self.tensors: dict[str, Tensor] = {}
        self.uses = Counter(name for node in graph.node for name in node.input)
        self.uses.update(one.name for one in graph.output)
        # names that tensors of the net cannot have
        self.taken = {
            *(one.name for one in graph.input),
            *(name for node in graph.node for name in node.output),
        }
        # constants in which 0 stands for the size of the batch
        self.batch_sizes: set[str] = set()
        self.products: dict[str, nn.Linear] = {}
        self.aliases: dict[str, str] = {}

    def read(self) -> OnnxNet:
        """Return the net."""
        name, shape, dtype = self._input()
        self.values[name] = torch.zeros(1, *shape, dtype=dtype)
        for node in self.graph.node:
            self._add(node)
        output = self.graph.output[0].name
        if output not in self.values:
            raise ModelError(f"{self.path}: its output {output!r} is a constant; expected one of its input")
        for tensor in self.tensors.values():
            self._require_type(tensor, dtype)
        net = OnnxNet(name, self._name(output), shape, self.steps, layers=self.layers, tensors=self.tensors)
        for parameter in net.parameters():
            self._require_type(parameter, dtype)
        return net.eval()

    def _input(self) -> tuple[str, tuple[int, ...], torch.dtype]:
        inputs = [one for one in self.graph.input if one.name not in self.constants]
        if len(inputs) != 1:
            raise ModelError(f"{self.path} takes {len(inputs)} inputs; expected one")
        kind = inputs[0].type.tensor_type
        types = {1: torch.float32, 11: torch.float64}
        sizes = [one.dim_value if one.HasField("dim_value") else None for one in kind.shape.dim]
        known = [size for size in sizes[1:] if size is not None and size > 0]
        if kind.elem_type not in types or not known or len(known) < len(sizes) - 1:
            raise ModelError(
                f"{self.path} takes an input of sizes {sizes}, type {kind.elem_type}; expected float32 (1) "
                "or float64 (11), the batch first and fixed sizes behind it"
            )
        return inputs[0].name, tuple(known), types[kind.elem_type]

    def _require_type(self, tensor: Tensor, dtype: torch.dtype) -> None:
        if tensor.is_floating_point() and tensor.dtype != dtype:
            raise ModelError(
                f"{self.path} has tensors of {tensor.dtype}; expected {dtype}, that of its input"
            )

    def _name(self, name: str) -> str:
        return self.aliases.get(name, name)

    def _add(self, node: Any) -> None:
        """Add what one operator becomes: a constant, or a step."""
        label = f"{self.path.name}: {node.name or node.output[0]!r}"
        settings = {one.name: self.helper.get_attribute_value(one) for one in node.attribute}
        settings = {
            key: value.decode() if isinstance(value, bytes) else value for key, value in settings.items()
        }
        others = [name for name in node.output[1:] if self.uses[name]]
        if node.domain not in ("", "ai.onnx") or others:
            raise ModelError(
                f"{label} is the operator {node.op_type} of {node.domain or 'ONNX'}, with {1 + len(others)} "
                "outputs in use; expected operators of ONNX itself with one"
            )
        given = tuple(
            self.values.get(name, self.constants.get(name)) if name else None for name in node.input
        )
        read = Node(node.op_type, label, settings, given, self.opset)
        if read.kind == "Constant":
            self.constants[node.output[0]] = self._constant(settings, label)
        elif read.kind == "Shape" and given and isinstance(given[0], Tensor) and not settings:
            # 0 stands for the batch, as it does in Reshape: the size that is there
            self.constants[node.output[0]] = np.array([0, *given[0].shape[1:]])
            self.batch_sizes.add(node.output[0])
        elif all(not isinstance(value, Tensor) for value in given) and read.kind in FOLDED:
            self._add_constant(read, node)
        else:
            self._add_step(read, node)

    def _add_constant(self, node: Node, given: Any) -> None:
        """Add what an operator on constants gives: it may move the size of the batch, which stays 0."""
        parts = len(given.input) if node.kind == "Concat" else 1
        self._require_no_batch_size(node, given.input[parts:])
        found = self.constants[given.output[0]] = fold(node)
        if self.batch_sizes.intersection(given.input[:parts]) and not found.all():
            self.batch_sizes.add(given.output[0])

    def _require_no_batch_size(self, node: Node, names: Sequence[str]) -> None:
        if self.batch_sizes.intersection(names):
            raise node.refuse(
                "computes with the size of the batch", "numbers that are the same for each batch"
            )

    def _constant(self, settings: dict[str, Any], label: str) -> Array:
        if "value" in settings:
            return self.to_array(settings["value"])
        kinds = {
            "value_float": np.float32,
            "value_floats": np.float32,
            "value_int": np.int64,
            "value_ints": np.int64,
        }
        for key, kind in kinds.items():
            if key in settings:
                return np.asarray(settings[key], dtype=kind)
        raise ModelError(f"{label} is a Constant of {', '.join(settings) or 'nothing'}; expected numbers")

    def _add_step(self, node: Node, given: Any) -> None:
        output = given.output[0]
        if node.kind == "Add" and self._is_bias(given):
            return
        if node.kind not in OPERATORS:
            raise node.refuse("is not imported", f"one of {', '.join(sorted(OPERATORS))}")
        self._require_no_batch_size(
            node, [name for name in given.input if not self._is_batch_first(node, name)]
        )
        if not any(isinstance(value, Tensor) for value in node.inputs):
            raise node.refuse("computes with constants alone", "its result as a constant (onnxsim does that)")
        made = OPERATORS[node.kind](node)
        names = tuple(self._value_name(given.input[at], node) for at in made.inputs)
        if made.layer is None:
            step = OperatorStep(names, output, "", made.function, made.settings)
        else:
            layer = f"{len(self.layers)}_{node.kind}"
            self.layers[layer] = made.layer
            step = OperatorStep(names, output, layer)
            if node.kind == "MatMul" and isinstance(made.layer, nn.Linear):
                self.products[output] = made.layer
        self.steps.append(step)
        self.values[output] = self._example(made, names, node)

    def _is_batch_first(self, node: Node, name: str) -> bool:
        """Whether these are sizes of a Reshape whose first one, and no other, may be that of the batch."""
        return node.kind == "Reshape" and bool(self.constants.get(name, np.zeros(2)).reshape(-1)[1:].all())

    def _is_bias(self, given: Any) -> bool:
        """Take a constant that is added to a product as the bias of its layer: one sum of products."""
        for product, constant in (given.input, given.input[::-1]):
            layer, bias = self.products.get(product), self.constants.get(constant)
            if layer is None or bias is None or self.uses[product] != 1 or "bias" in layer.state_dict():
                continue
            # another dimension in front would be one of the sum, too
            if (
                bias.shape[-1:] == (layer.out_features,)
                and bias.size == layer.out_features
                and bias.ndim <= self.values[product].ndim
            ):
                layer.bias = nn.Parameter(torch.from_numpy(bias.reshape(-1).copy()), requires_grad=False)
                self.aliases[given.output[0]] = self._name(product)
                self.values[given.output[0]] = self.values[product]
                return True
        return False

    def _value_name(self, name: str, node: Node) -> str:
        if name in self.values:
            return self._name(name)
        if name not in self.constants:
            raise node.refuse(f"takes {name!r}, which nothing computes before", "operators in order")
        found = next(free for at in itertools.count() if (free := f"tensor_{at}") not in self.taken)
        self.taken.add(found)
        self.tensors[found] = torch.from_numpy(np.array(self.constants[name]))
        return found

    def _example(self, made: ConvertedNode, names: tuple[str, ...], node: Node) -> Tensor:
        """Return what a step gives for the example of zeros, which two of them must give twice."""
        found, twice = (self._result(made, names, node, batch) for batch in (1, 2))
        if found.ndim < 2 or len(found) != 1 or twice.shape != (2, *found.shape[1:]):
            raise node.refuse(
                f"gives {tuple(found.shape)} for one example and {tuple(twice.shape)} for two",
                "(B, ...) for B",
            )
        return found

    def _result(self, made: ConvertedNode, names: tuple[str, ...], node: Node, batch: int) -> Tensor:
        values = [
            torch.cat([self.values[name]] * batch) if name in self.values else self.tensors[name]
            for name in names
        ]
        try:
            with torch.no_grad():
                if made.layer is not None:
                    result: Tensor = made.layer.eval()(*values)
                else:
                    assert made.function is not None
                    result = made.function(*values, *made.settings)
        except (RuntimeError, ValueError, IndexError) as error:
            raise node.refuse(f"fails in torch: {str(error).splitlines()[0]}", "sizes that fit") from error
        return result
