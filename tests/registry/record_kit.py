"""The record on a fresh SQLite database, behind a real server and reached through real stubs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from numpy.typing import NDArray
from sqlalchemy import select, update

from biosegment.client.arrays import NOT_LABELLED, pack_mask, unpack_mask
from biosegment.client.connection import Connection
from biosegment.client.geometry import ZYX, Box, shape_proto
from biosegment.client.stubs import AsyncStubs
from biosegment.registry.database import Base, Database, now
from biosegment.registry.results import apply_result
from biosegment.registry.servicer import AnnotationServicer, CampaignServicer, RegistryServicer
from biosegment.registry.tables.campaigns import ProposalRow
from biosegment.registry.tables.outbox import OutboxRow
from biosegment.runtime.server import Server
from biosegment.v1 import (
    annotations_pb2,
    annotations_pb2_grpc,
    campaigns_pb2,
    campaigns_pb2_grpc,
    jobs_pb2,
    registry_pb2,
    registry_pb2_grpc,
    types_pb2,
)

PROJECT = "projects/p"
DATASET = f"{PROJECT}/datasets/d"
MODEL = f"{PROJECT}/models/m"
CAMPAIGN = f"{PROJECT}/campaigns/c"
SHAPE = (4, 32, 32)
SHA256 = "0" * 64


class Record:
    """Short words for what tests do to the record."""

    def __init__(self, database: Database, stubs: AsyncStubs, connection: Connection) -> None:
        self.database = database
        self.stubs = stubs
        self.connection = connection

    async def seed(self) -> None:
        """A project with classes 0 to 2, a data set, and a model."""
        project = registry_pb2.Project(name=PROJECT, display_name="P")
        await self.stubs.registry.CreateProject(registry_pb2.CreateProjectRequest(project=project))
        for value in (1, 2):
            await self.put_class(value)
        await self.import_dataset("d")
        model = registry_pb2.Model(name=MODEL, architecture="unet", classes=[0, 1, 2])
        await self.stubs.registry.CreateModel(registry_pb2.CreateModelRequest(model=model))

    async def put_class(
        self, value: int, mask: list[str] | None = None, **fields: Any
    ) -> registry_pb2.LabelClass:
        name = f"{PROJECT}/labelClasses/{value}"
        request = registry_pb2.PutLabelClassRequest(
            label_class=registry_pb2.LabelClass(name=name, value=value, **fields),
            update_mask=None if mask is None else FieldMask(paths=mask),
        )
        return (await self.stubs.registry.PutLabelClass(request)).label_class

    async def apply(
        self, job: str, result: Message, *, complete: bool = True, **spec: Message
    ) -> jobs_pb2.JobResult:
        """Ends a job with one spec and its result."""
        field = next(iter(spec)).replace("_spec", "_result")
        given = jobs_pb2.Job(name=f"{PROJECT}/jobs/{job}", **spec)  # type: ignore[arg-type]
        made = jobs_pb2.JobResult(**{field: result})  # type: ignore[arg-type]
        async with self.database.write() as session:
            return await apply_result(session, given, made, complete=complete)

    async def import_dataset(self, identity: str, shape: ZYX = SHAPE) -> None:
        await self.apply(
            f"import-{identity}",
            jobs_pb2.ImportResult(
                volume=f"{PROJECT}/volumes/{identity}",
                shape=shape_proto(shape),
                voxel_size=types_pb2.VoxelSize(z=50, y=4.6, x=4.6),
            ),
            import_spec=jobs_pb2.ImportSpec(
                volume=f"{PROJECT}/volumes/{identity}",
                dataset=jobs_pb2.DatasetTarget(
                    name=f"{PROJECT}/datasets/{identity}", metadata={"organism": "yeast"}
                ),
            ),
        )

    async def train(self, job: str = "train", revision: int = 0) -> str:
        answer = await self.apply(
            job,
            jobs_pb2.TrainResult(
                weights=f"{PROJECT}/objects/{job}.safetensors",
                sha256=SHA256,
                metrics={"loss": 0.5, "dice": float("nan")},
            ),
            train_spec=jobs_pb2.TrainSpec(model=MODEL, dataset=DATASET, revision=revision),
        )
        return answer.train_result.version

    async def dataset(self) -> registry_pb2.Dataset:
        request = registry_pb2.GetDatasetRequest(name=DATASET)
        return (await self.stubs.registry.GetDataset(request)).dataset

    async def commit(
        self,
        mask: NDArray[np.uint8],
        start: ZYX = (0, 0, 0),
        *,
        request_id: str = "",
        claimant: str = "",
        **fields: Any,
    ) -> annotations_pb2.Annotation:
        z, y, x = mask.shape
        annotation = annotations_pb2.Annotation(
            box=Box.at(start, (z, y, x)).to_proto(),
            mask=pack_mask(mask),
            compression=types_pb2.COMPRESSION_ZLIB,
            **fields,
        )
        request = annotations_pb2.CommitAnnotationRequest(
            parent=DATASET, request_id=request_id, annotation=annotation, claimant=claimant
        )
        return (await self.stubs.annotations.CommitAnnotation(request)).annotation

    async def undo(self, revision: int, request_id: str = "") -> annotations_pb2.Annotation:
        request = annotations_pb2.UndoAnnotationRequest(
            name=f"{DATASET}/annotations/{revision}", request_id=request_id
        )
        return (await self.stubs.annotations.UndoAnnotation(request)).annotation

    async def log(self, page_size: int = 0) -> list[annotations_pb2.Annotation]:
        """Every commit with its mask, by pages."""
        request = annotations_pb2.ListAnnotationsRequest(
            parent=DATASET, page_size=page_size, with_masks=True
        )
        found: list[annotations_pb2.Annotation] = []
        while True:
            answer = await self.stubs.annotations.ListAnnotations(request)
            found += answer.annotations
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    async def view(self) -> NDArray[np.uint8]:
        """The log painted in the order of its revisions, as training and storage do."""
        view = np.full(SHAPE, NOT_LABELLED, np.uint8)
        for annotation in await self.log():
            box = Box.from_proto(annotation.box)
            mask = unpack_mask(annotation.mask, annotation.compression, box.shape)
            paint_model(view, mask, box)
        return view

    async def start_campaign(self, **fields: Any) -> campaigns_pb2.Campaign:
        plan: dict[str, Any] = {
            "name": CAMPAIGN,
            "dataset": DATASET,
            "model": MODEL,
            "strategy": campaigns_pb2.Strategy(name="entropy"),
            "patch": shape_proto((1, 8, 8)),
            "initial_patches": 4,
            "batch_patches": 2,
            "pool_patches": 100,
            "budget_patches": 20,
        }
        request = campaigns_pb2.CreateCampaignRequest(
            campaign=campaigns_pb2.Campaign(**{**plan, **fields})
        )
        return (await self.stubs.campaigns.CreateCampaign(request)).campaign

    async def open_round(self, index: int = 1, base_version: str = "") -> campaigns_pb2.Round:
        request = campaigns_pb2.CreateRoundRequest(
            parent=CAMPAIGN, index=index, base_version=base_version
        )
        return (await self.stubs.campaigns.CreateRound(request)).round

    async def propose(self, index: int = 1, count: int = 4) -> None:
        """Ends the ranking of a round with patches side by side, four in a row."""
        patches = [
            jobs_pb2.RankedPatch(
                box=Box.at((index - 1, 8 * (i // 4), 8 * (i % 4)), (1, 8, 8)).to_proto(),
                score=float(count - i),
                statistics={"entropy": 0.1 * i},
            )
            for i in range(count)
        ]
        await self.apply(
            f"rank-{index}",
            jobs_pb2.RankResult(patches=patches, candidates=100),
            rank_spec=jobs_pb2.RankSpec(round=f"{CAMPAIGN}/rounds/{index}"),
        )

    async def move(
        self, index: int, expected: int, state: int, **fields: Any
    ) -> campaigns_pb2.Round:
        request = campaigns_pb2.MoveRoundRequest(
            name=f"{CAMPAIGN}/rounds/{index}",
            expected_state=expected,  # type: ignore[arg-type]
            state=state,  # type: ignore[arg-type]
            round=campaigns_pb2.Round(**fields),
        )
        return (await self.stubs.campaigns.MoveRound(request)).round

    async def claim(self, claimant: str, count: int = 1) -> list[campaigns_pb2.Proposal]:
        request = campaigns_pb2.ClaimProposalsRequest(
            parent=CAMPAIGN, claimant=claimant, count=count
        )
        return list((await self.stubs.campaigns.ClaimProposals(request)).proposals)

    async def proposals(self, *states: int) -> list[campaigns_pb2.Proposal]:
        request = campaigns_pb2.ListProposalsRequest(
            parent=CAMPAIGN,
            states=states,  # type: ignore[arg-type]
        )
        return list((await self.stubs.campaigns.ListProposals(request)).proposals)

    async def claimants(self) -> dict[int, str]:
        """Who was last lent each proposal, by its number, lapsed claims included."""
        async with self.database.read() as session:
            rows = await session.execute(select(ProposalRow.number, ProposalRow.claimant))
            return dict(rows.all())

    async def lapse_claims(self) -> None:
        """Lets every claim end."""
        async with self.database.write() as session:
            await session.execute(
                update(ProposalRow)
                .where(ProposalRow.lease_until.is_not(None))
                .values(lease_until=now())
            )

    async def events(self, subject: str) -> list[bytes]:
        """Payloads recorded for biosegment.events.<subject> so far."""
        async with self.database.read() as session:
            query = (
                select(OutboxRow.payload)
                .where(OutboxRow.subject == f"biosegment.events.{subject}")
                .order_by(OutboxRow.id)
            )
            return list(await session.scalars(query))


def paint_model(view: NDArray[np.uint8], mask: NDArray[np.uint8], box: Box) -> None:
    """What a commit does to the view, in the plainest words."""
    part = view[box.slices]
    part[mask < 254] = mask[mask < 254]
    part[mask == 254] = 255


@asynccontextmanager
async def open_record(folder: Path, file: str = "registry.db") -> AsyncIterator[Record]:
    """A record on a database in the folder."""
    database = Database(f"sqlite+aiosqlite:///{folder / file}")
    async with database.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    server = Server("127.0.0.1:0", "token")
    server.add(
        registry_pb2_grpc.add_RegistryServiceServicer_to_server,
        RegistryServicer(database),
        "biosegment.v1.RegistryService",
    )
    server.add(
        annotations_pb2_grpc.add_AnnotationServiceServicer_to_server,
        AnnotationServicer(database),
        "biosegment.v1.AnnotationService",
    )
    server.add(
        campaigns_pb2_grpc.add_CampaignServiceServicer_to_server,
        CampaignServicer(database),
        "biosegment.v1.CampaignService",
    )
    await server.start()
    connection = Connection(token="token", addresses={"*": f"127.0.0.1:{server.port}"})
    try:
        async with AsyncStubs(connection) as stubs:
            yield Record(database, stubs, connection)
    finally:
        await server.stop(0)
        await database.close()
