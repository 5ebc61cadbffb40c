"""RegistryService: projects, data sets, label classes, models and segmentations."""

from typing import Any

from biosegment.registry.catalog import classes, datasets, models, projects
from biosegment.registry.database import Database
from biosegment.registry.requests import once
from biosegment.v1 import registry_pb2 as pb
from biosegment.v1 import registry_pb2_grpc


class RegistryServicer(registry_pb2_grpc.RegistryServiceServicer):
    """Proto in, proto out; each call is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def CreateProject(
        self, request: pb.CreateProjectRequest, context: Any
    ) -> pb.CreateProjectResponse:
        """Makes a project."""
        async with self._database.write() as session:

            async def make() -> pb.CreateProjectResponse:
                project = await projects.create_project(session, request.project)
                return pb.CreateProjectResponse(project=project)

            return await once(
                session, "CreateProject", request.request_id, pb.CreateProjectResponse, make
            )

    async def GetProject(
        self, request: pb.GetProjectRequest, context: Any
    ) -> pb.GetProjectResponse:
        """One project."""
        async with self._database.read() as session:
            row = await projects.require_project(session, request.name)
            return pb.GetProjectResponse(project=projects.to_proto(row))

    async def ListProjects(
        self, request: pb.ListProjectsRequest, context: Any
    ) -> pb.ListProjectsResponse:
        """Every project, by name."""
        async with self._database.read() as session:
            found, token = await projects.list_projects(
                session, request.page_size, request.page_token
            )
            return pb.ListProjectsResponse(projects=found, next_page_token=token)

    async def GetDataset(
        self, request: pb.GetDatasetRequest, context: Any
    ) -> pb.GetDatasetResponse:
        """One data set."""
        async with self._database.read() as session:
            row = await datasets.require_dataset(session, request.name)
            return pb.GetDatasetResponse(dataset=datasets.to_proto(row))

    async def ListDatasets(
        self, request: pb.ListDatasetsRequest, context: Any
    ) -> pb.ListDatasetsResponse:
        """The data sets of a project, or of all, by name."""
        async with self._database.read() as session:
            project = await projects.parent_project(session, request.parent)
            found, token = await datasets.list_datasets(
                session, project, request.page_size, request.page_token
            )
            return pb.ListDatasetsResponse(datasets=found, next_page_token=token)

    async def PutLabelClass(
        self, request: pb.PutLabelClassRequest, context: Any
    ) -> pb.PutLabelClassResponse:
        """Makes or changes a label class."""
        async with self._database.write() as session:
            project, _ = classes.class_key(request.label_class.name)
            await projects.require_project(session, project, lock=True)
            mask = request.update_mask if request.HasField("update_mask") else None
            made = await classes.put_label_class(session, request.label_class, mask)
            return pb.PutLabelClassResponse(label_class=made)

    async def ListLabelClasses(
        self, request: pb.ListLabelClassesRequest, context: Any
    ) -> pb.ListLabelClassesResponse:
        """The label classes of a project, by value."""
        async with self._database.read() as session:
            await projects.require_project(session, request.parent)
            found, token = await classes.list_label_classes(
                session, request.parent, request.page_size, request.page_token
            )
            return pb.ListLabelClassesResponse(label_classes=found, next_page_token=token)

    async def CreateModel(
        self, request: pb.CreateModelRequest, context: Any
    ) -> pb.CreateModelResponse:
        """Makes a model without weights."""
        async with self._database.write() as session:

            async def make() -> pb.CreateModelResponse:
                return pb.CreateModelResponse(
                    model=await models.create_model(session, request.model)
                )

            return await once(
                session, "CreateModel", request.request_id, pb.CreateModelResponse, make
            )

    async def GetModel(self, request: pb.GetModelRequest, context: Any) -> pb.GetModelResponse:
        """One model."""
        async with self._database.read() as session:
            row = await models.require_model(session, request.name)
            return pb.GetModelResponse(model=models.to_proto(row))

    async def ListModels(
        self, request: pb.ListModelsRequest, context: Any
    ) -> pb.ListModelsResponse:
        """The models of a project, by name."""
        async with self._database.read() as session:
            await projects.require_project(session, request.parent)
            found, token = await models.list_models(
                session, request.parent, request.page_size, request.page_token
            )
            return pb.ListModelsResponse(models=found, next_page_token=token)

    async def GetModelVersion(
        self, request: pb.GetModelVersionRequest, context: Any
    ) -> pb.GetModelVersionResponse:
        """One model version, or the latest."""
        async with self._database.read() as session:
            row = await models.find_version(session, request.name)
            return pb.GetModelVersionResponse(version=models.version_proto(row))

    async def ListModelVersions(
        self, request: pb.ListModelVersionsRequest, context: Any
    ) -> pb.ListModelVersionsResponse:
        """The versions of a model, newest first."""
        async with self._database.read() as session:
            await models.require_model(session, request.parent)
            found, token = await models.list_versions(
                session, request.parent, request.page_size, request.page_token
            )
            return pb.ListModelVersionsResponse(versions=found, next_page_token=token)

    async def ListSegmentations(
        self, request: pb.ListSegmentationsRequest, context: Any
    ) -> pb.ListSegmentationsResponse:
        """The segmentations of a data set, newest first."""
        async with self._database.read() as session:
            await datasets.require_dataset(session, request.parent)
            found, token = await datasets.list_segmentations(
                session, request.parent, request.page_size, request.page_token
            )
            return pb.ListSegmentationsResponse(segmentations=found, next_page_token=token)
