"""The acquisition service over the real record, all in one process.

Training and inference are two small servicers that keep to the contract: their
Start calls record real jobs, which the tests then end as workers would.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.acquisition.conductor import Conductor
from biosegment.acquisition.ranking import rank
from biosegment.acquisition.servicer import AcquisitionServicer
from biosegment.client.arrays import pack_mask
from biosegment.client.connection import Connection
from biosegment.client.geometry import Box, shape_proto
from biosegment.client.stubs import AsyncStubs
from biosegment.registry.database import Base, Database
from biosegment.registry.jobs.servicer import JobServicer, WorkerServicer
from biosegment.registry.servicer import AnnotationServicer, CampaignServicer, RegistryServicer
from biosegment.registry.settings import RegistrySettings
from biosegment.runtime.server import Server
from biosegment.runtime.worker import JobContext
from biosegment.storage import start
from biosegment.storage.servicer import StorageServicer
from biosegment.storage.store import Store
from biosegment.storage.volumes import Volumes
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
from tests.acquisition.volume_kit import store_volume

PROJECT = "projects/p"
DATASET, MODEL = f"{PROJECT}/datasets/d", f"{PROJECT}/models/m"
CAMPAIGN, TRUTH = f"{PROJECT}/campaigns/c", f"{PROJECT}/volumes/truth"
RAW = f"{PROJECT}/volumes/raw"
SHAPE = (4, 128, 128)
TRAINING_HALF = Box((0, 0, 0), (4, 64, 128))
OTHER_HALF = Box((0, 64, 0), (4, 128, 128))


class _Training(TrainingServicer):
    """Says the truth about networks, and starts what is asked for unchecked."""

    async def StartTraining(self, request: Any, context: Any) -> Any:
        answer = await self._stubs.jobs.CreateJob(
            jobs_pb2.CreateJobRequest(
                parent=request.parent,
                request_id=request.request_id,
                job=jobs_pb2.Job(train_spec=request.spec, warnings=request.warnings),
            )
        )
        return training_pb2.StartTrainingResponse(job=answer.job, resolved_spec=request.spec)


class _Inference(inference_pb2_grpc.InferenceServiceServicer):
    stubs: AsyncStubs
    scores_left_out = 0

    def __init__(self) -> None:
        self.asked: list[inference_pb2.ScorePatchesRequest] = []

    async def StartEvaluation(self, request: Any, context: Any) -> Any:
        answer = await self.stubs.jobs.CreateJob(
            jobs_pb2.CreateJobRequest(
                parent=request.parent,
                request_id=request.request_id,
                job=jobs_pb2.Job(evaluate_spec=request.spec),
            )
        )
        return inference_pb2.StartEvaluationResponse(job=answer.job)

    async def StartSegmentation(self, request: Any, context: Any) -> Any:
        spec = jobs_pb2.SegmentSpec()
        spec.CopyFrom(request.spec)
        suffix = request.request_id[:6]
        spec.volume = f"{PROJECT}/volumes/seg-{suffix}"
        spec.segmentation = f"{DATASET}/segmentations/seg-{suffix}"
        answer = await self.stubs.jobs.CreateJob(
            jobs_pb2.CreateJobRequest(
                parent=request.parent,
                request_id=request.request_id,
                job=jobs_pb2.Job(segment_spec=spec),
            )
        )
        return inference_pb2.StartSegmentationResponse(job=answer.job, resolved_spec=spec)

    async def ScorePatches(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        for index, box in enumerate(request.boxes[: len(request.boxes) - self.scores_left_out]):
            # The more to the right, the less sure.
            unsure = box.x_start / 1000
            statistics = {"entropy": unsure, "least_confidence": 0.1, "p_0": 0.9, "p_1": 0.1}
            if request.dropout_passes or request.ensemble_versions:
                statistics |= {"bald": unsure, "mutual_information": unsure / 2}
            embedding = (box.x_start, box.y_start) if request.with_embeddings else ()
            yield inference_pb2.ScorePatchesResponse(
                scores=[
                    inference_pb2.PatchScore(
                        index=index, statistics=statistics, embedding=embedding
                    )
                ]
            )


class _Storage(StorageServicer):
    """The real one, with the truth made up."""

    async def GetVolume(self, request: Any, context: Any) -> Any:
        if request.name != TRUTH:
            return await super().GetVolume(request, context)
        kind = storage_pb2.VOLUME_KIND_LABELS
        level = storage_pb2.VolumeLevel(shape=shape_proto(SHAPE))
        return storage_pb2.GetVolumeResponse(
            volume=storage_pb2.Volume(name=request.name, kind=kind, state=2, levels=[level])
        )


class Kit:
    """Short words for what people and workers do."""

    def __init__(
        self,
        stubs: AsyncStubs,
        connection: Connection,
        conductor: Conductor,
        inference: _Inference,
    ) -> None:
        self.stubs = stubs
        self.connection = connection
        self.conductor = conductor
        self.inference = inference

    async def seed(self, raw: NDArray[np.float32] | None = None) -> None:
        if raw is None:
            raw = np.random.default_rng(0).random(SHAPE, np.float32)
        await store_volume(self.stubs, self.connection, RAW, raw)
        registry = self.stubs.registry
        project = registry_pb2.Project(name=PROJECT)
        await registry.CreateProject(registry_pb2.CreateProjectRequest(project=project))
        label = registry_pb2.LabelClass(name=f"{PROJECT}/labelClasses/1", value=1)
        await registry.PutLabelClass(registry_pb2.PutLabelClassRequest(label_class=label))
        spec = jobs_pb2.ImportSpec(volume=RAW, dataset=jobs_pb2.DatasetTarget(name=DATASET))
        job = await self.create_job(import_spec=spec)
        await self.end(
            job,
            import_result=jobs_pb2.ImportResult(
                volume=RAW,
                shape=shape_proto(SHAPE),
                voxel_size=types_pb2.VoxelSize(z=40, y=8, x=8),
            ),
        )
        model = registry_pb2.Model(name=MODEL, architecture="unet2d-quarter", classes=[0, 1])
        await registry.CreateModel(registry_pb2.CreateModelRequest(model=model))

    async def start(self, *, validate_only: bool = False, **fields: Any) -> campaigns_pb2.Campaign:
        plan: dict[str, Any] = {
            "name": CAMPAIGN,
            "dataset": DATASET,
            "model": MODEL,
            "patch": shape_proto((1, 16, 16)),
            "initial_patches": 3,
            "batch_patches": 2,
            "pool_patches": 40,
            "budget_patches": 6,
            "region": TRAINING_HALF.to_proto(),
            "evaluation": campaigns_pb2.EvaluationPlan(
                reference_volume=TRUTH, box=OTHER_HALF.to_proto()
            ),
            "automatic": True,
            "skip_pretraining": "pretraining" not in fields,
        }
        campaign = campaigns_pb2.Campaign(**{**plan, **fields})
        request = acquisition_pb2.StartCampaignRequest(
            campaign=campaign, validate_only=validate_only, request_id="start-1"
        )
        return (await self.stubs.acquisition.StartCampaign(request)).campaign

    async def advance(self, close_round: bool = False) -> acquisition_pb2.AdvanceCampaignResponse:
        request = acquisition_pb2.AdvanceCampaignRequest(name=CAMPAIGN, close_round=close_round)
        return await self.stubs.acquisition.AdvanceCampaign(request)

    async def create_job(self, **spec: Any) -> jobs_pb2.Job:
        request = jobs_pb2.CreateJobRequest(parent=PROJECT, job=jobs_pb2.Job(**spec))
        return (await self.stubs.jobs.CreateJob(request)).job

    async def jobs(self, kind: int) -> list[jobs_pb2.Job]:
        request = jobs_pb2.ListJobsRequest(parent=PROJECT, kinds=[kind])  # type: ignore[list-item]
        return list((await self.stubs.jobs.ListJobs(request)).jobs)

    async def claim(self, job: str) -> jobs_pb2.ClaimJobResponse:
        request = jobs_pb2.ClaimJobRequest(job=job, holder="test")
        return await self.stubs.workers.ClaimJob(request)

    async def end(self, job: jobs_pb2.Job, **result: Any) -> None:
        claim = await self.claim(job.name)
        await self.stubs.workers.CompleteJob(
            jobs_pb2.CompleteJobRequest(
                job=job.name, attempt=claim.job.attempt, result=jobs_pb2.JobResult(**result)
            )
        )

    async def fail(self, name: str, message: str) -> None:
        claim = await self.claim(name)
        await self.stubs.workers.FailJob(
            jobs_pb2.FailJobRequest(
                job=name,
                attempt=claim.job.attempt,
                error=jobs_pb2.JobError(reason="BROKEN", message=message),
                kind=jobs_pb2.FAILURE_KIND_PERMANENT,
            )
        )

    async def segment(self, entropy: NDArray[np.float32]) -> jobs_pb2.Job:
        """Ends the newest segmentation as a worker would, with this uncertainty volume."""
        job = (await self.jobs(jobs_pb2.JOB_KIND_SEGMENT))[0]
        name = job.segment_spec.entropy_volume
        await store_volume(self.stubs, self.connection, name, entropy)
        result = jobs_pb2.SegmentResult(volume=job.segment_spec.volume, entropy_volume=name)
        await self.end(job, segment_result=result)
        return job

    async def rank(self) -> jobs_pb2.RankResult:
        """Does the rank job of the newest round as the worker would."""
        current = await self.round()
        claim = await self.claim(current.rank_job)
        context = JobContext(claim, self.stubs, None, asyncio.Event())  # type: ignore[arg-type]
        result = await rank(context, self.connection)
        assert isinstance(result, jobs_pb2.JobResult)
        await self.stubs.workers.CompleteJob(
            jobs_pb2.CompleteJobRequest(
                job=claim.job.name, attempt=claim.job.attempt, result=result
            )
        )
        return result.rank_result

    async def train(self) -> None:
        """Ends the training of the newest round."""
        job = (await self.jobs(jobs_pb2.JOB_KIND_TRAIN))[0]
        result = jobs_pb2.TrainResult(weights=f"{PROJECT}/objects/w", sha256="0" * 64)
        await self.end(job, train_result=result)

    async def evaluate(self, iou: float, round_index: int = 0) -> None:
        """Ends the evaluation of a round, or the newest one."""
        jobs = await self.jobs(jobs_pb2.JOB_KIND_EVALUATE)
        wanted = f"/{round_index}" if round_index else ""
        job = next(job for job in jobs if job.evaluate_spec.round.endswith(wanted))
        await self.end(job, evaluate_result=jobs_pb2.EvaluateResult(metrics={"iou": iou}))

    async def rounds(self) -> list[campaigns_pb2.Round]:
        request = campaigns_pb2.ListRoundsRequest(parent=CAMPAIGN)
        return list((await self.stubs.campaigns.ListRounds(request)).rounds)

    async def round(self) -> campaigns_pb2.Round:
        return (await self.rounds())[-1]

    async def campaign(self) -> campaigns_pb2.Campaign:
        request = campaigns_pb2.GetCampaignRequest(name=CAMPAIGN)
        return (await self.stubs.campaigns.GetCampaign(request)).campaign

    async def set_state(self, state: int) -> None:
        await self.stubs.campaigns.SetCampaignState(
            campaigns_pb2.SetCampaignStateRequest(name=CAMPAIGN, state=state)  # type: ignore[arg-type]
        )

    async def proposals(self, round_index: int = 0) -> list[campaigns_pb2.Proposal]:
        request = campaigns_pb2.ListProposalsRequest(parent=CAMPAIGN, round_index=round_index)
        return list((await self.stubs.campaigns.ListProposals(request)).proposals)

    async def answer(self, count: int = 100) -> int:
        """Claims and labels proposals; returns how many."""
        claimed = await self.stubs.campaigns.ClaimProposals(
            campaigns_pb2.ClaimProposalsRequest(parent=CAMPAIGN, claimant="ann", count=count)
        )
        for proposal in claimed.proposals:
            mask = np.ones(Box.from_proto(proposal.box).shape, np.uint8)
            await self.stubs.annotations.CommitAnnotation(
                annotations_pb2.CommitAnnotationRequest(
                    parent=DATASET,
                    claimant="ann",
                    annotation=annotations_pb2.Annotation(
                        box=proposal.box,
                        mask=pack_mask(mask),
                        compression=types_pb2.COMPRESSION_ZLIB,
                        proposal=proposal.name,
                    ),
                )
            )
        return len(claimed.proposals)

    async def skip(self) -> None:
        """Passes every open proposal over."""
        claimed = await self.stubs.campaigns.ClaimProposals(
            campaigns_pb2.ClaimProposalsRequest(parent=CAMPAIGN, claimant="ann", count=100)
        )
        for proposal in claimed.proposals:
            await self.stubs.campaigns.ReturnProposal(
                campaigns_pb2.ReturnProposalRequest(name=proposal.name, claimant="ann", skip=True)
            )


@asynccontextmanager
async def open_kit(
    folder: Path, raw: NDArray[np.float32] | None = None, *, device: str = "cuda"
) -> AsyncIterator[Kit]:
    """Everything on one server, with a seeded project; noise where no raw voxels are given."""
    database = Database(f"sqlite+aiosqlite:///{folder / 'registry.db'}")
    async with database.engine.begin() as engine:
        await engine.run_sync(Base.metadata.create_all)
    settings = RegistrySettings(database_url="unused", connection=folder)
    # The port is known only once the server listens, and the servicers need stubs to it.
    inference = _Inference()
    store = Store.of_folder(folder / "store")
    storage = _Storage(store, Volumes(store), await start.probe(store))
    server = Server("127.0.0.1:0", "token")
    stubs_of: list[AsyncStubs] = []

    class _Late:
        def __getattr__(self, name: str) -> Any:
            return getattr(stubs_of[0], name)

    late: Any = _Late()
    training = _Training(late, DeviceOfChild(training_pb2.Device(type=device, cores=2)))
    inference.stubs = late
    conductor = Conductor(late, sweep_seconds=3600)
    for register, servicer, name in (
        (
            registry_pb2_grpc.add_RegistryServiceServicer_to_server,
            RegistryServicer(database),
            "Registry",
        ),
        (
            annotations_pb2_grpc.add_AnnotationServiceServicer_to_server,
            AnnotationServicer(database),
            "Annotation",
        ),
        (
            campaigns_pb2_grpc.add_CampaignServiceServicer_to_server,
            CampaignServicer(database),
            "Campaign",
        ),
        (jobs_pb2_grpc.add_JobServiceServicer_to_server, JobServicer(database, settings), "Job"),
        (
            jobs_pb2_grpc.add_WorkerServiceServicer_to_server,
            WorkerServicer(database, settings),
            "Worker",
        ),
        (training_pb2_grpc.add_TrainingServiceServicer_to_server, training, "Training"),
        (inference_pb2_grpc.add_InferenceServiceServicer_to_server, inference, "Inference"),
        (storage_pb2_grpc.add_StorageServiceServicer_to_server, storage, "Storage"),
        (
            acquisition_pb2_grpc.add_AcquisitionServiceServicer_to_server,
            AcquisitionServicer(late, conductor),
            "Acquisition",
        ),
    ):
        server.add(register, servicer, f"biosegment.v1.{name}Service")
    await server.start()
    connection = Connection(token="token", addresses={"*": f"127.0.0.1:{server.port}"})
    try:
        async with AsyncStubs(connection) as stubs:
            stubs_of.append(stubs)
            kit = Kit(stubs, connection, conductor, inference)
            await kit.seed(raw)
            yield kit
    finally:
        await server.stop(0)
        await database.close()
