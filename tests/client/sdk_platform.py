"""A small platform in memory: servicers that do what the contract says of the RPCs under test.

They record every request, so that a test can see what the SDK sent.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import numpy as np

from biosegment.client import arrays
from biosegment.client.connection import Connection
from biosegment.client.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError
from biosegment.client.geometry import Box
from biosegment.client.verbs.jobs import ENDED
from biosegment.runtime.server import Server
from biosegment.training.device import DeviceOfChild
from biosegment.training.servicer import TrainingServicer
from biosegment.v1 import (
    acquisition_pb2,
    acquisition_pb2_grpc,
    annotations_pb2,
    annotations_pb2_grpc,
    campaigns_pb2,
    campaigns_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    instances_pb2,
    instances_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    registry_pb2,
    registry_pb2_grpc,
    storage_pb2,
    storage_pb2_grpc,
    training_pb2,
    training_pb2_grpc,
    types_pb2,
)

RAW = np.arange(4 * 6 * 8, dtype=np.uint16).reshape(4, 6, 8)
DATASET = registry_pb2.Dataset(
    name="projects/default/datasets/liver",
    raw_volume="projects/default/volumes/liver-raw",
    shape=types_pb2.Shape(z=4, y=6, x=8),
    voxel_size=types_pb2.VoxelSize(z=30, y=4, x=4),
)
PROPOSAL = campaigns_pb2.Proposal(
    name="projects/default/campaigns/c/proposals/1",
    dataset=DATASET.name,
    box=Box.at((1, 0, 0), (1, 2, 2)).to_proto(),
    score=0.5,
    state=campaigns_pb2.PROPOSAL_STATE_OPEN,
)


FOUND = jobs_pb2.SearchResult(
    trials=[
        jobs_pb2.Trial(
            number=0,
            state=jobs_pb2.TRIAL_STATE_DONE,
            values={"learning_rate": 0.002, "batch_size": 4},
            iou=0.625,
            seconds=12,
        ),
        jobs_pb2.Trial(
            number=1,
            state=jobs_pb2.TRIAL_STATE_FAILED,
            values={"learning_rate": 0.1, "batch_size": 8},
            error="Training diverged at step 3.",
        ),
    ],
    best_trial=0,
    best_settings=jobs_pb2.TrainingSettings(
        steps=200, learning_rate=0.002, batch_size=4, patch=types_pb2.Shape(z=1, y=64, x=64)
    ),
)


class Seen:
    """What was asked."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    def note(self, request: Any) -> None:
        self.requests.append(request)
        given = getattr(request, "request_id", None)
        if given is not None and uuid.UUID(given).version != 4:
            raise InvalidArgumentError("request_id is not a UUID4")

    def of(self, kind: type) -> list[Any]:
        return [request for request in self.requests if isinstance(request, kind)]


class Registry(registry_pb2_grpc.RegistryServiceServicer):
    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        self.projects = [registry_pb2.Project(name=f"projects/p{n:02}") for n in range(25)]
        self.classes = [0, 1]

    async def CreateProject(self, request: Any, context: Any) -> Any:
        self.seen.note(request)
        if any(known.name == request.project.name for known in self.projects):
            raise AlreadyExistsError(f"{request.project.name} is taken.")
        self.projects.append(request.project)
        return registry_pb2.CreateProjectResponse(project=request.project)

    async def GetProject(self, request: Any, context: Any) -> Any:
        found = next(known for known in self.projects if known.name == request.name)
        return registry_pb2.GetProjectResponse(project=found)

    async def ListProjects(self, request: Any, context: Any) -> Any:
        """Pages of at most 10, which is less than the SDK asks for."""
        self.seen.note(request)
        start = int(request.page_token or 0)
        stop = start + min(request.page_size or 10, 10)
        more = str(stop) if stop < len(self.projects) else ""
        return registry_pb2.ListProjectsResponse(
            projects=self.projects[start:stop], next_page_token=more
        )

    async def GetDataset(self, request: Any, context: Any) -> Any:
        if request.name != DATASET.name:
            raise NotFoundError(f"There is no data set {request.name}.", name=request.name)
        return registry_pb2.GetDatasetResponse(dataset=DATASET)

    async def ListDatasets(self, request: Any, context: Any) -> Any:
        self.seen.note(request)
        return registry_pb2.ListDatasetsResponse(datasets=[DATASET])

    async def CreateModel(self, request: Any, context: Any) -> Any:
        self.seen.note(request)
        return registry_pb2.CreateModelResponse(model=request.model)

    async def ListModelVersions(self, request: Any, context: Any) -> Any:
        self.seen.note(request)
        measured = registry_pb2.Evaluation(
            dataset="projects/default/datasets/kidney",
            reference_volume="projects/default/volumes/kidney-reference",
            box=Box.at((0, 0, 0), (1, 2, 3)).to_proto(),
            metrics={"iou": 0.25},
            voxels=6,
        )
        version = registry_pb2.ModelVersion(
            name=f"{request.parent}/versions/1",
            dataset=DATASET.name,
            metrics={"loss": 0.5},
            evaluations=[measured],
        )
        return registry_pb2.ListModelVersionsResponse(versions=[version])

    async def PutLabelClass(self, request: Any, context: Any) -> Any:
        self.seen.note(request)
        return registry_pb2.PutLabelClassResponse(label_class=request.label_class)

    async def ListLabelClasses(self, request: Any, context: Any) -> Any:
        found = [registry_pb2.LabelClass(value=value) for value in self.classes]
        return registry_pb2.ListLabelClassesResponse(label_classes=found)


class Annotations(annotations_pb2_grpc.AnnotationServiceServicer):
    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    async def CommitAnnotation(self, request: Any, context: Any) -> Any:
        self.seen.note(request)
        revision = len(self.seen.of(annotations_pb2.CommitAnnotationRequest))
        made = annotations_pb2.Annotation(
            name=f"{request.parent}/annotations/{revision}",
            revision=revision,
            box=request.annotation.box,
        )
        return annotations_pb2.CommitAnnotationResponse(annotation=made)


class Campaigns(campaigns_pb2_grpc.CampaignServiceServicer):
    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        # What a campaign waits for; while it is set there is nothing to label.
        self.waiting: campaigns_pb2.Waiting | None = None
        self.metrics: dict[str, float] = {}

    async def GetCampaign(self, request: Any, context: Any) -> Any:
        campaign = campaigns_pb2.Campaign(name=request.name, waiting=self.waiting)
        return campaigns_pb2.GetCampaignResponse(campaign=campaign)

    async def ListRounds(self, request: Any, context: Any) -> Any:
        name = f"{request.parent}/rounds/1"
        made = campaigns_pb2.Round(name=name, state=5, metrics=self.metrics)
        return campaigns_pb2.ListRoundsResponse(rounds=[made])

    async def SetCampaignState(self, request: Any, context: Any) -> Any:
        self.seen.note(request)
        campaign = campaigns_pb2.Campaign(name=request.name, state=request.state)
        ended = request.state == campaigns_pb2.CAMPAIGN_STATE_FINISHED
        return campaigns_pb2.SetCampaignStateResponse(
            campaign=campaign, cancelled_jobs=[JOB] if ended and not request.keep_jobs else []
        )

    async def ListProposals(self, request: Any, context: Any) -> Any:
        self.seen.note(request)
        return campaigns_pb2.ListProposalsResponse(proposals=[PROPOSAL])

    async def ClaimProposals(self, request: Any, context: Any) -> Any:
        self.seen.note(request)
        if self.waiting is not None:
            return campaigns_pb2.ClaimProposalsResponse(waiting=self.waiting)
        return campaigns_pb2.ClaimProposalsResponse(proposals=[PROPOSAL])

    async def ReturnProposal(self, request: Any, context: Any) -> Any:
        self.seen.note(request)
        return campaigns_pb2.ReturnProposalResponse(proposal=PROPOSAL)


class Acquisition(acquisition_pb2_grpc.AcquisitionServiceServicer):
    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    async def StartCampaign(self, request: Any, context: Any) -> Any:
        self.seen.note(request)
        return acquisition_pb2.StartCampaignResponse(campaign=request.campaign)


class Storage(storage_pb2_grpc.StorageServiceServicer):
    state = storage_pb2.VOLUME_STATE_READY

    async def GetVolume(self, request: Any, context: Any) -> Any:
        level = storage_pb2.VolumeLevel(shape=DATASET.shape)
        return storage_pb2.GetVolumeResponse(
            volume=storage_pb2.Volume(name=request.name, levels=[level], state=self.state)
        )

    async def ResolveObject(self, request: Any, context: Any) -> Any:
        path = "/store/" + request.name.removeprefix("projects/")
        spec = json.dumps({"driver": "file", "path": path})
        return storage_pb2.ResolveObjectResponse(kvstore_spec=spec)

    async def ReadRegion(self, request: Any, context: Any) -> AsyncIterator[Any]:
        box = Box.from_proto(request.box).within(RAW.shape, request.name)
        for chunk in arrays.encode(RAW[box.slices], box):
            yield storage_pb2.ReadRegionResponse(chunk=chunk)


class Inference(inference_pb2_grpc.InferenceServiceServicer):
    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    async def PredictRegion(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.seen.note(request)
        box = Box.from_proto(request.box)
        many = request.output == inference_pb2.PREDICTION_OUTPUT_PROBABILITIES
        answer = np.full((2, *box.shape), 0.5, "f4") if many else np.ones(box.shape, "u1")
        for chunk in arrays.encode(answer, box):
            yield inference_pb2.PredictRegionResponse(chunk=chunk)

    async def StartSegmentation(self, request: Any, context: Any) -> Any:
        self.seen.note(request)
        return inference_pb2.StartSegmentationResponse(job=jobs_pb2.Job(name=JOB))


class Instances(instances_pb2_grpc.InstanceServiceServicer):
    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    async def StartInstances(self, request: Any, context: Any) -> Any:
        self.seen.note(request)
        return instances_pb2.StartInstancesResponse(job=jobs_pb2.Job(name=JOB))

    async def ReadInstanceTable(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.seen.note(request)
        for data in (b'"id"\n', b"1\n"):
            yield instances_pb2.ReadInstanceTableResponse(data=data)


class Training(TrainingServicer):
    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        self._device = DeviceOfChild(training_pb2.Device(type="cpu", display_name="a core"))

    async def StartTraining(self, request: Any, context: Any) -> Any:
        self.seen.note(request)
        return training_pb2.StartTrainingResponse(job=jobs_pb2.Job(name=JOB))

    async def StartSearch(self, request: Any, context: Any) -> Any:
        self.seen.note(request)
        return training_pb2.StartSearchResponse(job=jobs_pb2.Job(name=JOB))

    async def GetSearch(self, request: Any, context: Any) -> Any:
        self.seen.note(request)
        return training_pb2.GetSearchResponse(result=FOUND)


class Ingest(ingest_pb2_grpc.IngestServiceServicer):
    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    async def StartImport(self, request: Any, context: Any) -> Any:
        self.seen.note(request)
        return ingest_pb2.StartImportResponse(job=jobs_pb2.Job(name=JOB))


JOB = "projects/default/jobs/j"


class Jobs(jobs_pb2_grpc.JobServiceServicer):
    """One job, whose changes a test makes with ``change``."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        self.job = jobs_pb2.Job(
            name=JOB, kind=jobs_pb2.JOB_KIND_TRAIN, state=jobs_pb2.JOB_STATE_QUEUED
        )
        self.changed = asyncio.Condition()
        self.watchers = 0

    async def change(self, **fields: Any) -> None:
        """Sets fields of the job and tells the watchers."""
        async with self.changed:
            self.job.MergeFrom(jobs_pb2.Job(**fields))
            self.changed.notify_all()

    async def watched(self) -> None:
        """Returns once somebody watches."""
        async with asyncio.timeout(30), self.changed:
            await self.changed.wait_for(lambda: self.watchers > 0)

    async def GetJob(self, request: Any, context: Any) -> Any:
        return jobs_pb2.GetJobResponse(job=self.job)

    async def ListJobs(self, request: Any, context: Any) -> Any:
        self.seen.note(request)
        return jobs_pb2.ListJobsResponse(jobs=[self.job])

    async def CancelJob(self, request: Any, context: Any) -> Any:
        await self.change(state=jobs_pb2.JOB_STATE_CANCELLED)
        return jobs_pb2.CancelJobResponse(job=self.job)

    async def PauseJob(self, request: Any, context: Any) -> Any:
        self.seen.note(request)
        await self.change(state=jobs_pb2.JOB_STATE_PAUSED)
        return jobs_pb2.PauseJobResponse(job=self.job)

    async def ResumeJob(self, request: Any, context: Any) -> Any:
        self.seen.note(request)
        await self.change(state=jobs_pb2.JOB_STATE_RUNNING)
        return jobs_pb2.ResumeJobResponse(job=self.job)

    async def WatchJob(self, request: Any, context: Any) -> AsyncIterator[Any]:
        if request.name != JOB:
            raise NotFoundError(f"There is no job {request.name}.")
        async with self.changed:
            self.watchers += 1
            self.changed.notify_all()
            try:
                while True:
                    yield jobs_pb2.WatchJobResponse(job=self.job)
                    if self.job.state in ENDED:
                        return
                    await self.changed.wait()
            finally:
                self.watchers -= 1
                self.changed.notify_all()


class InMemoryPlatform:
    """All of the above behind real servers on one port."""

    def __init__(self) -> None:
        self.seen = Seen()
        self.jobs = Jobs(self.seen)
        self.campaigns = Campaigns(self.seen)
        self.registry = Registry(self.seen)
        self.storage = Storage()
        self.connection = Connection(token="t", addresses={})
        self._server: Server | None = None
        self._port = 0

    async def start(self) -> None:
        """Starts; after a stop, on the same port."""
        server = Server(f"127.0.0.1:{self._port}", self.connection.token)
        v1 = "biosegment.v1."
        for register, servicer, name in (
            (registry_pb2_grpc.add_RegistryServiceServicer_to_server, self.registry, "Registry"),
            (
                annotations_pb2_grpc.add_AnnotationServiceServicer_to_server,
                Annotations(self.seen),
                "Annotation",
            ),
            (
                campaigns_pb2_grpc.add_CampaignServiceServicer_to_server,
                self.campaigns,
                "Campaign",
            ),
            (
                acquisition_pb2_grpc.add_AcquisitionServiceServicer_to_server,
                Acquisition(self.seen),
                "Acquisition",
            ),
            (storage_pb2_grpc.add_StorageServiceServicer_to_server, self.storage, "Storage"),
            (
                inference_pb2_grpc.add_InferenceServiceServicer_to_server,
                Inference(self.seen),
                "Inference",
            ),
            (
                instances_pb2_grpc.add_InstanceServiceServicer_to_server,
                Instances(self.seen),
                "Instance",
            ),
            (
                training_pb2_grpc.add_TrainingServiceServicer_to_server,
                Training(self.seen),
                "Training",
            ),
            (ingest_pb2_grpc.add_IngestServiceServicer_to_server, Ingest(self.seen), "Ingest"),
            (jobs_pb2_grpc.add_JobServiceServicer_to_server, self.jobs, "Job"),
        ):
            server.add(register, servicer, f"{v1}{name}Service")
        await server.start()
        self._server, self._port = server, server.port
        self.connection = Connection(
            token=self.connection.token, addresses={"*": f"127.0.0.1:{server.port}"}
        )

    async def stop(self) -> None:
        """Stops at once, cutting every stream."""
        assert self._server is not None
        await self._server.stop(0)
