"""Model versions, loaded once and kept while they are used."""

from collections import OrderedDict

from biosegment.client.stubs import SyncStubs
from biosegment.inference.child.predict import Predictor
from biosegment.inference.forwards import Forwards
from biosegment.nets import weights
from biosegment.runtime import objects
from biosegment.v1 import registry_pb2

# As many as one call compares.
_KEPT = 4
_loaded: OrderedDict[tuple[str, str], Predictor] = OrderedDict()


def predictor_of(stubs: SyncStubs, version: str, *, forwards: Forwards) -> Predictor:
    """The network of a model version, from memory if it was used lately.

    Args:
        stubs: To reach registry and storage.
        version: projects/p/models/m/versions/v
        forwards: How networks are run; for one that has to be loaded.

    Raises:
        NotFoundError: There is no such version, or its weights are gone.
        FailedPreconditionError: The weights are damaged, or not those of the record.
    """
    answer = stubs.registry.GetModelVersion(registry_pb2.GetModelVersionRequest(name=version))
    key = (version, answer.version.sha256)
    if key in _loaded:
        _loaded.move_to_end(key)
        return _loaded[key]
    data = objects.read(stubs, answer.version.weights)
    loaded = weights.load(data, expected_sha256=answer.version.sha256, what=f"{version}'s weights")
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
