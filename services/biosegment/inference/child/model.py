"""Model versions, loaded once and kept while they are used."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from biosegment.client.stubs import SyncStubs
from biosegment.inference.child.predict import Predictor
from biosegment.inference.forwards import Forwards
from biosegment.nets import reference, weights
from biosegment.runtime import objects
from biosegment.runtime.arrays import VolumeArray
from biosegment.v1 import registry_pb2

# As many as one call compares.
_KEPT = 4
_loaded: OrderedDict[tuple[str, str], Predictor] = OrderedDict()


@contextmanager
def looking_at(
    stubs: SyncStubs, version: str, raw: VolumeArray, *, forwards: Forwards
) -> Iterator[Predictor]:
    """The network of a model version, from memory if it was used lately, looking at a volume.

    Args:
        stubs: To reach registry and storage.
        version: projects/p/models/m/versions/v
        raw: The volume. Its grey values are put on the scale of what the version learnt from.
        forwards: How networks are run; for one that has to be loaded.

    Raises:
        NotFoundError: There is no such version, or its weights are gone.
        FailedPreconditionError: The weights are damaged, or not those of the record.
    """
    answer = stubs.registry.GetModelVersion(registry_pb2.GetModelVersionRequest(name=version))
    predictor = _predictor_of(stubs, answer.version, forwards)
    with predictor.looking_at(reference.map_of(stubs, answer.version, raw)):
        yield predictor


def _predictor_of(
    stubs: SyncStubs, version: registry_pb2.ModelVersion, forwards: Forwards
) -> Predictor:
    key = (version.name, version.sha256)
    if key in _loaded:
        _loaded.move_to_end(key)
        return _loaded[key]
    data = objects.read(stubs, version.weights)
    what = f"{version.name}'s weights"
    loaded = weights.load(data, expected_sha256=version.sha256, what=what)
    footprint = loaded.module.footprint
    predictor = Predictor(
        loaded.module,
        loaded.classes,
        footprint.forward_voxels(forwards.pixels),
        by_openvino=forwards.by_openvino(footprint),
        precision=forwards.precision,
    )
    while len(_loaded) >= _KEPT:
        _loaded.popitem(last=False)
    _loaded[key] = predictor
    return predictor


def give_back() -> None:
    """Frees what forwards keep for one another, of every network."""
    for predictor in _loaded.values():
        predictor.give_back()
