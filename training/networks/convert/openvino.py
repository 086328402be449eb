"""Reads a network of OpenVINO's intermediate representation, version 10 or 11: an XML file and weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from training.networks.graph import GraphError

Array = NDArray[Any]
VERSIONS = frozenset({"10", "11"})
KINDS: Mapping[str, str] = {
    "f32": "<f4",
    "f16": "<f2",
    "i64": "<i8",
    "i32": "<i4",
    "FP32": "<f4",
    "FP16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
}


@dataclass(frozen=True, slots=True)
class Layer:
    """One operator. `inputs`: numbers of the layers whose only output it takes, by port; `value`: if stored;
    `shape`: of its output, of which the first number counts the images."""

    number: int
    kind: str
    settings: Mapping[str, str]
    inputs: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()
    value: Array | None = field(default=None, compare=False)

    def numbers(self, name: str) -> list[int]:
        """A setting such as `1,1`. Raises GraphError if it is missing or no list of integers."""
        try:
            return [int(part) for part in self.settings[name].split(",")]
        except (KeyError, ValueError) as error:
            raise GraphError(f"layer {self.number} ({self.kind}) has no {name}") from error


def read_representation(description: Path, weights: Path) -> list[Layer]:
    """The layers in an order of evaluation.

    Raises GraphError if the files are no such network, or the weights end early.
    """
    try:
        # A file of a pinned digest, or one that the caller made: no untrusted XML.
        net = ElementTree.parse(description).getroot()  # noqa: S314
        stored = weights.read_bytes()
    except (OSError, ElementTree.ParseError) as error:
        raise GraphError(f"{description.name} cannot be read: {type(error).__name__}") from error
    version = net.get("version", "none")
    if net.tag != "net" or version not in VERSIONS:
        raise GraphError(f"{description.name} is of version {version}; 10 and 11 are known here")
    links: dict[int, dict[int, int]] = {}
    for edge in net.iter("edge"):
        to = links.setdefault(int(edge.attrib["to-layer"]), {})
        to[int(edge.attrib["to-port"])] = int(edge.attrib["from-layer"])
    layers = [_layer(element, links, stored) for element in net.iter("layer")]
    return _in_order(layers)


def _layer(element: ElementTree.Element, links: Mapping[int, Mapping[int, int]], stored: bytes) -> Layer:
    number, kind = int(element.attrib["id"]), element.attrib["type"]
    data = element.find("data")
    settings = dict(data.attrib) if data is not None else {}
    inputs = links.get(number, {})
    shape = tuple(int(dim.text or "0") for dim in element.findall("./output/port/dim"))
    layer = Layer(number, kind, settings, tuple(inputs[port] for port in sorted(inputs)), shape)
    if kind != "Const":
        return layer
    return Layer(number, kind, settings, value=_value(layer, stored))


def _value(layer: Layer, stored: bytes) -> Array:
    (start,), (size,) = layer.numbers("offset"), layer.numbers("size")
    kind = KINDS.get(layer.settings.get("element_type", ""))
    if kind is None:
        raise GraphError(f"layer {layer.number} has values of an unknown kind")
    if start + size > len(stored):
        raise GraphError("the file of weights ends early: it belongs to another network")
    shape = layer.numbers("shape") if layer.settings.get("shape") else []
    try:
        return np.frombuffer(stored[start : start + size], kind).reshape(shape)
    except ValueError as error:
        raise GraphError(f"layer {layer.number}: {size} bytes are not of shape {shape}") from error


def _in_order(layers: list[Layer]) -> list[Layer]:
    """Sorts so that every layer follows its inputs. Raises GraphError for a circle or a missing layer."""
    done: set[int] = set()
    ordered: list[Layer] = []
    waiting = layers
    while waiting:
        ready = [layer for layer in waiting if done.issuperset(layer.inputs)]
        if not ready:
            raise GraphError(f"layer {waiting[0].number} ({waiting[0].kind}) lacks an input")
        ordered += ready
        done |= {layer.number for layer in ready}
        waiting = [layer for layer in waiting if layer.number not in done]
    return ordered
