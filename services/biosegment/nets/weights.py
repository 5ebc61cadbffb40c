"""Weights as safetensors: tensors and words, nothing that could be executed."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import safetensors
import safetensors.torch
import torch

from biosegment.client.errors import FailedPreconditionError, InvalidArgumentError
from biosegment.nets.architectures import build
from biosegment.nets.network import Network

_FORMAT = "biosegment.weights/1"
_KEY = "biosegment"


@dataclass(frozen=True, slots=True)
class Weights:
    """A network with what its file says about it.

    Attributes:
        module: The network, on the CPU, in eval mode.
        architecture: Name of its architecture.
        parameters: Parameters of the architecture.
        classes: Class values in channel order.
        notes: Whatever else was written with it, as JSON values by name.
    """

    module: Network
    architecture: str
    parameters: Mapping[str, Any]
    classes: tuple[int, ...]
    notes: Mapping[str, Any] = field(default_factory=dict)


def sha256(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def dump(weights: Weights) -> bytes:
    """The safetensors bytes of a network.

    Raises:
        FailedPreconditionError: A weight is not finite: the training diverged.
    """
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in weights.module.state_dict().items()
    }
    _check_finite(tensors, "The network")
    words = {
        "format": _FORMAT,
        "architecture": weights.architecture,
        "parameters": dict(weights.parameters),
        "classes": list(weights.classes),
        "notes": dict(weights.notes),
    }
    # One entry, since safetensors writes several in a random order: equal weights, equal bytes.
    metadata = {_KEY: json.dumps(words, sort_keys=True)}
    return bytes(safetensors.torch.save(tensors, metadata))


def load(data: bytes, *, expected_sha256: str = "", what: str = "The weights file") -> Weights:
    """The network of a safetensors file.

    Args:
        data: The file's bytes.
        expected_sha256: Its SHA-256 in hex as the record has it; empty skips the comparison.
        what: What to call the file in errors.

    Raises:
        FailedPreconditionError: The bytes are not what the record says, are no safetensors file
            of this platform, or do not fill the network that they name.
    """
    if expected_sha256 and sha256(data) != expected_sha256:
        raise FailedPreconditionError(
            f"{what} is not what was recorded: its SHA-256 is {sha256(data)}, the record has "
            f"{expected_sha256}. Restore it from a backup, or train the version again."
        )
    try:
        words = _words(data)
        tensors = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FailedPreconditionError(f"{what} is no safetensors file: {error}.") from None
    if words.get("format") != _FORMAT:
        raise FailedPreconditionError(
            f'{what} was not written by this platform: its metadata lacks format "{_FORMAT}".'
        )
    try:
        architecture, parameters = words["architecture"], words["parameters"]
        classes = tuple(int(value) for value in words["classes"])
        module = build(architecture, parameters, len(classes))
        module.load_state_dict(tensors)
        made = Weights(module.eval(), architecture, parameters, classes, words["notes"])
    except InvalidArgumentError as error:
        raise FailedPreconditionError(f"{what} does not fit: {error.message}") from None
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise FailedPreconditionError(f"The metadata of {what} is damaged: {error!r}.") from None
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise FailedPreconditionError(
            f"{what} does not fill the {architecture} that it names: {first[0].strip()}"
        ) from None
    _check_finite(tensors, what)
    return made


def check_fits(
    weights: Weights,
    architecture: str,
    parameters: Mapping[str, Any],
    classes: Sequence[int],
    what: str,
) -> None:
    """Accepts weights of the given architecture, parameters and classes.

    Raises:
        FailedPreconditionError: They differ.
    """
    # Dropout has no weights, so a version may go on with another rate.
    mine = {**weights.parameters, "dropout": 0}
    if (
        weights.architecture != architecture
        or mine != {**parameters, "dropout": 0}
        or weights.classes != tuple(classes)
    ):
        raise FailedPreconditionError(
            f"{what} belongs to another network: {weights.architecture} "
            f"{dict(weights.parameters)} with classes {list(weights.classes)}, not {architecture} "
            f"{dict(parameters)} with classes {list(classes)}."
        )


def _words(data: bytes) -> dict[str, Any]:
    # A file begins with the length of its JSON header (8 bytes, little endian).
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise ValueError("it is cut short")
    found = json.loads(json.loads(data[8 : 8 + length]).get("__metadata__", {}).get(_KEY, "{}"))
    if not isinstance(found, dict):
        raise ValueError("its header is damaged")
    return found


def _check_finite(tensors: Mapping[str, torch.Tensor], what: str) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise FailedPreconditionError(
                f"{what} holds values in {name} that are not finite: its training diverged. Train "
                "again with a lower learning rate."
            )
