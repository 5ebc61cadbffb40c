"""What a request of this service is about: a model version applied to a data set, checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from google.protobuf.json_format import MessageToDict

from biosegment.client import arrays, names
from biosegment.client.complete import check_complete
from biosegment.client.errors import FailedPreconditionError, InvalidArgumentError
from biosegment.client.geometry import ZYX, Box, shape_of
from biosegment.client.stubs import AsyncStubs
from biosegment.nets import catalog, intensity, likeness, reference
from biosegment.nets.families import Architecture
from biosegment.nets.footprint import Footprint
from biosegment.nets.parameters import Parameters
from biosegment.v1 import registry_pb2, storage_pb2, types_pb2


@dataclass(frozen=True, slots=True)
class Subject:
    """A model version and a data set that fit.

    Attributes:
        version: Name of the version, with its number where "latest" was asked for.
        model: The version's model.
        architecture: What the model is made of.
        parameters: Of the architecture, complete.
        dataset: The data set.
        raw: Its raw volume.
        warnings: Sentences for whoever uses what is made of it.
    """

    version: str
    model: registry_pb2.Model
    architecture: Architecture
    parameters: Parameters
    dataset: registry_pb2.Dataset
    raw: storage_pb2.Volume
    warnings: Sequence[str] = ()

    @property
    def footprint(self) -> Footprint:
        """How the network looks at the data set."""
        return self.architecture.footprint(self.parameters)

    @property
    def shape(self) -> ZYX:
        """Extent of the data set in voxels, (z, y, x)."""
        return shape_of(self.raw.levels[0].shape)

    def check_sections(self, most_bytes: int) -> None:
        """Accepts sections that a network which has to see all of each can be shown.

        Raises:
            FailedPreconditionError: One would take more than most_bytes.
        """
        if self.footprint.local:
            return
        _, rows, columns = self.shape
        pixels = prod(self.footprint.padded((1, rows, columns)))
        needed = pixels * self.architecture.activation_bytes(self.parameters)
        if needed > most_bytes:
            raise FailedPreconditionError(
                f"{self.model.architecture} has to see whole sections, and one of {rows} × "
                f"{columns} pixels of {self.dataset.name} takes about {needed >> 20} MiB, more "
                f"than the {most_bytes >> 20} allowed. Take an architecture that works in tiles, "
                "such as unet2d, or raise BIOSEGMENT_SECTION_MEBIBYTES of the inference service.",
                name=self.dataset.name,
            )

    def box(self, box: types_pb2.Box) -> Box:
        """A box of the data set.

        Raises:
            InvalidArgumentError: It is empty, or not of level 0.
            OutsideVolumeError: It leaves the data set.
        """
        made = Box.from_proto(box)
        if made.level:
            raise InvalidArgumentError(
                f"The box {made} is of level {made.level}; networks look at level 0.", field="box"
            )
        return made.within(self.shape, self.dataset.name)


async def look_up(stubs: AsyncStubs, version: str, dataset: str) -> Subject:
    """Finds a model version and a data set, and checks that they fit.

    Raises:
        InvalidArgumentError: A name is wrong, or they belong to different projects.
        NotFoundError: One of them does not exist.
        FailedPreconditionError: The data cannot be fed to the network.
    """
    names.parse(names.VERSION, version)
    names.parse(names.DATASET, dataset)
    if names.project_of(version) != names.project_of(dataset):
        raise InvalidArgumentError(f"{version} and {dataset} belong to different projects.")
    pinned = await stubs.registry.GetModelVersion(registry_pb2.GetModelVersionRequest(name=version))
    owner = version.rpartition("/versions/")[0]
    model = (await stubs.registry.GetModel(registry_pb2.GetModelRequest(name=owner))).model
    parameters = catalog.resolve(model.architecture, MessageToDict(model.parameters))
    found = await stubs.registry.GetDataset(registry_pb2.GetDatasetRequest(name=dataset))
    raw = await ready_volume(stubs, found.dataset.raw_volume)
    intensity.check_dtype(arrays.dtype_of(raw.data_type), raw.name)
    if raw.channels:
        raise FailedPreconditionError(
            f"{raw.name} has {raw.channels} channels; {model.name} takes volumes of one.",
            name=raw.name,
        )
    architecture = catalog.find(model.architecture)
    known = await reference.recorded(stubs, pinned.version)
    if known is None:
        what = pinned.version.name
        gone = f"What {what} learnt from is gone: the grey values of {dataset} are taken as stored."
        warnings = [gone]
    else:
        warnings = likeness.remarks(pinned.version.name, known, dataset, raw)
    return Subject(
        pinned.version.name, model, architecture, parameters, found.dataset, raw, warnings
    )


async def ready_volume(stubs: AsyncStubs, name: str) -> storage_pb2.Volume:
    """A volume that may be read.

    Raises:
        NotFoundError: There is none.
        FailedPreconditionError: It is still being written.
    """
    answer = await stubs.storage.GetVolume(storage_pb2.GetVolumeRequest(name=name))
    return check_complete(answer.volume)
