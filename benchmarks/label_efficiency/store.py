"""What a bench keeps on disk, so that it can be stopped at any time and gone on with."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from biosegment.client.errors import FailedPreconditionError
from biosegment.nets import weights as files
from biosegment.nets.weights import Weights


@dataclass(frozen=True, slots=True)
class Round:
    """A point of a learning curve.

    Attributes:
        labelled: Patches labelled.
        iou: Of the network trained on them.
        seconds: Spent on choosing the newest of them and on training.
        chosen: The newest of them, as positions in the pool.
    """

    labelled: int
    iou: float
    seconds: float
    chosen: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """The rounds of a trial so far.

    Attributes:
        strategy: The plan's text.
        seed: The trial's.
        rounds: In their order.
    """

    strategy: str
    seed: int
    rounds: tuple[Round, ...]


class Store:
    """Curves and weights in a folder; every file is replaced as a whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._trials = folder / "trials"
        self._cache = folder / "cache"
        for made in (self._trials, self._cache):
            made.mkdir(parents=True, exist_ok=True)

    def write_curve(self, curve: Curve) -> None:
        """Keeps a curve."""
        data = json.dumps(asdict(curve), indent=1) + "\n"
        _replace(self._trials / f"{_stem(curve.strategy, curve.seed)}.json", data.encode())

    def curve(self, strategy: str, seed: int) -> Curve | None:
        """A trial's curve, None where it has not begun."""
        path = self._trials / f"{_stem(strategy, seed)}.json"
        return _curve(path) if path.exists() else None

    def curves(self) -> list[Curve]:
        """Every curve, by strategy and seed."""
        found = [_curve(path) for path in self._trials.glob("*.json")]
        return sorted(found, key=lambda curve: (curve.strategy, curve.seed))

    def write_weights(self, key: str, weights: Weights) -> None:
        """Keeps weights with their notes."""
        _replace(self._cache / f"{_safe(key)}.safetensors", files.dump(weights))

    def weights(self, key: str) -> Weights | None:
        """Weights with their notes, None where there are none that can be read."""
        try:
            return files.load((self._cache / f"{_safe(key)}.safetensors").read_bytes())
        except (FileNotFoundError, FailedPreconditionError):
            return None

    def drop_weights(self, key: str) -> None:
        """Forgets weights."""
        (self._cache / f"{_safe(key)}.safetensors").unlink(missing_ok=True)


def rounds_of(notes: Sequence[dict[str, object]]) -> tuple[Round, ...]:
    """Rounds as they were written into JSON."""
    return tuple(
        Round(
            int(str(note["labelled"])),
            float(str(note["iou"])),
            float(str(note["seconds"])),
            tuple(note["chosen"]),  # type: ignore[arg-type]
        )
        for note in notes
    )


def _curve(path: Path) -> Curve:
    found = json.loads(path.read_text())
    return Curve(found["strategy"], int(found["seed"]), rounds_of(found["rounds"]))


def _stem(strategy: str, seed: int) -> str:
    return f"{_safe(strategy)}-seed{seed}"


def _safe(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "+-=_." else "-" for letter in name)


def _replace(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(data)
    partial.replace(path)
