"""Projects, data sets, label classes, models, segmentations."""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from biosegment.client import names
from biosegment.client.errors import AlreadyExistsError
from biosegment.client.verbs.base import QUICK_SECONDS, START_SECONDS, Verbs, collect, request_id
from biosegment.v1 import registry_pb2 as pb
from biosegment.v1 import training_pb2


class RecordVerbs(Verbs):
    """The record, as far as people read and write it directly."""

    async def create_project(
        self, project: str, *, display_name: str = "", exist_ok: bool = False
    ) -> pb.Project:
        """Makes a project.

        Args:
            project: Its id: a-z, 0-9 and "-".
            display_name: For people.
            exist_ok: Return the project that has the name already.

        Raises:
            AlreadyExistsError: The name is taken.
            InvalidArgumentError: The name is not a legal one.
        """
        name = names.PROJECT.format(names.check_id(project, "project"))
        request = pb.CreateProjectRequest(
            request_id=request_id(), project=pb.Project(name=name, display_name=display_name)
        )
        try:
            return (await self.stubs.registry.CreateProject(request, timeout=QUICK_SECONDS)).project
        except AlreadyExistsError:
            if not exist_ok:
                raise
        found = await self.stubs.registry.GetProject(
            pb.GetProjectRequest(name=name), timeout=QUICK_SECONDS
        )
        return found.project

    async def projects(self, *, limit: int = 1000) -> list[pb.Project]:
        """Every project, by name."""
        return await collect(
            self.stubs.registry.ListProjects,
            pb.ListProjectsRequest(),
            lambda response: response.projects,
            limit,
        )

    async def dataset(self, dataset: str) -> pb.Dataset:
        """One data set.

        Raises:
            NotFoundError: There is none of that name.
        """
        request = pb.GetDatasetRequest(name=self.name(names.DATASET, dataset))
        return (await self.stubs.registry.GetDataset(request, timeout=QUICK_SECONDS)).dataset

    async def datasets(self, *, limit: int = 1000) -> list[pb.Dataset]:
        """The data sets of the project, by name."""
        return await collect(
            self.stubs.registry.ListDatasets,
            pb.ListDatasetsRequest(parent=self.parent),
            lambda response: response.datasets,
            limit,
        )

    async def put_label_class(
        self,
        value: int,
        display_name: str | None = None,
        *,
        color: str | None = None,
        ontology_term: str | None = None,
    ) -> pb.LabelClass:
        """Makes or changes a label class of the project; what is None stays as it is.

        Args:
            value: Its value in masks and label volumes, 0 to 253; 0 is background.
            display_name: For people; a new class without one is called after its value.
            color: #rrggbb; "" means the default of the value, which a new class gets too.
            ontology_term: Such as GO:0005739; "" means none.

        Raises:
            InvalidArgumentError: Value, name or colour is not a legal one.
        """
        given = {"display_name": display_name, "color": color, "ontology_term": ontology_term}
        texts = {field: text for field, text in given.items() if text is not None}
        label_class = pb.LabelClass(
            name=names.LABEL_CLASS.format(self.project, value),
            value=value,
            **texts,
        )
        request = pb.PutLabelClassRequest(
            label_class=label_class, update_mask=FieldMask(paths=list(texts))
        )
        return (await self.stubs.registry.PutLabelClass(request, timeout=QUICK_SECONDS)).label_class

    async def label_classes(self) -> list[pb.LabelClass]:
        """The label classes of the project, by value."""
        return await collect(
            self.stubs.registry.ListLabelClasses,
            pb.ListLabelClassesRequest(parent=self.parent),
            lambda response: response.label_classes,
            254,
        )

    async def create_model(
        self,
        model: str,
        *,
        classes: Sequence[int],
        architecture: str = "",
        display_name: str = "",
        parameters: Mapping[str, Any] | None = None,
    ) -> pb.Model:
        """Makes a model: an architecture with its classes, without weights yet.

        Args:
            model: Its id.
            classes: Class values that it tells apart, in channel order; background (0) first.
            architecture: As ``architectures`` lists them; empty takes the one that suits the device
                of the training service.
            display_name: For people.
            parameters: Of the architecture; absent ones take its defaults.

        Raises:
            AlreadyExistsError: The name is taken.
            InvalidArgumentError: A class is not in the project's table, or background not first;
                or there is no such architecture or parameter.
        """
        given = ParseDict(dict(parameters or {}), Struct())
        # The record keeps what it is told; training knows what networks there are.
        resolved = await self.stubs.training.ResolveArchitecture(
            training_pb2.ResolveArchitectureRequest(name=architecture, parameters=given),
            timeout=START_SECONDS,
        )
        request = pb.CreateModelRequest(
            request_id=request_id(),
            model=pb.Model(
                name=self.name(names.MODEL, model),
                display_name=display_name,
                architecture=resolved.architecture.name,
                parameters=given,
                classes=classes,
            ),
        )
        return (await self.stubs.registry.CreateModel(request, timeout=QUICK_SECONDS)).model

    async def model(self, model: str) -> pb.Model:
        """One model.

        Raises:
            NotFoundError: There is none of that name.
        """
        request = pb.GetModelRequest(name=self.name(names.MODEL, model))
        return (await self.stubs.registry.GetModel(request, timeout=QUICK_SECONDS)).model

    async def models(self, *, limit: int = 1000) -> list[pb.Model]:
        """The models of the project, by name."""
        return await collect(
            self.stubs.registry.ListModels,
            pb.ListModelsRequest(parent=self.parent),
            lambda response: response.models,
            limit,
        )

    async def version(self, version: str) -> pb.ModelVersion:
        """One model version.

        Args:
            version: ``m/3``, ``m/latest``, or a full name.

        Raises:
            NotFoundError: There is none of that name.
        """
        request = pb.GetModelVersionRequest(name=self.name(names.VERSION, version))
        return (await self.stubs.registry.GetModelVersion(request, timeout=QUICK_SECONDS)).version

    async def versions(self, model: str, *, limit: int = 1000) -> list[pb.ModelVersion]:
        """The versions of a model, newest first."""
        return await collect(
            self.stubs.registry.ListModelVersions,
            pb.ListModelVersionsRequest(parent=self.name(names.MODEL, model)),
            lambda response: response.versions,
            limit,
        )

    async def segmentations(self, dataset: str, *, limit: int = 1000) -> list[pb.Segmentation]:
        """The segmentations of a data set, newest first."""
        return await collect(
            self.stubs.registry.ListSegmentations,
            pb.ListSegmentationsRequest(parent=self.name(names.DATASET, dataset)),
            lambda response: response.segmentations,
            limit,
        )
