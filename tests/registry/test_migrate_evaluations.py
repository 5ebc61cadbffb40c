"""Figures that lay among those of training become evaluations, with what they were measured on."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic import command
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from biosegment.client.geometry import Box
from biosegment.registry.catalog.models import list_versions
from biosegment.registry.database import Database
from biosegment.registry.migrate import config, upgrade
from biosegment.v1 import jobs_pb2 as pb

P = "projects/p"
VERSION = f"{P}/models/m/versions/1"
TIME = datetime(2026, 1, 2, tzinfo=UTC).replace(tzinfo=None).isoformat(" ")


async def insert(session: AsyncSession, table: str, **values: Any) -> None:
    names = ", ".join(values)
    marks = ", ".join(f":{name}" for name in values)
    await session.execute(text(f"INSERT INTO {table} ({names}) VALUES ({marks})"), values)


async def fill(session: AsyncSession) -> None:
    await insert(session, "project", name=P, display_name="", create_time=TIME)
    shapes = {"shape_z": 2, "shape_y": 4, "shape_x": 6, "voxel_z": 1, "voxel_y": 1, "voxel_x": 1}
    for name in ("d", "e"):
        await insert(
            session,
            "dataset",
            name=f"{P}/datasets/{name}",
            project=P,
            display_name="",
            raw_volume="",
            label_volume="",
            **shapes,
            properties="{}",
            reference_volumes="[]",
            revision=1,
            create_time=TIME,
        )
    model = {"name": f"{P}/models/m", "project": P, "display_name": "", "architecture": "unet"}
    await insert(session, "model", **model, parameters="{}", classes="[0, 1]", create_time=TIME)
    await insert(
        session,
        "model_version",
        model=model["name"],
        number=1,
        base_version="",
        weights="w",
        sha256="0" * 64,
        dataset=f"{P}/datasets/d",
        revision=1,
        job="j",
        metrics=json.dumps({"loss": 0.5, "steps": 3, "iou": 0.0, "accuracy": 0.5}),
        create_time=TIME,
    )


async def measured(session: AsyncSession, number: int, iou: float, state: int, **spec: Any) -> None:
    asked = {"version": VERSION, "reference_volume": f"{P}/volumes/r", **spec}
    result = pb.EvaluateResult(metrics={"iou": iou, "accuracy": 0.5}, voxels=7)
    await insert(
        session,
        "job",
        name=f"{P}/jobs/j{number}",
        project=P,
        kind=pb.JOB_KIND_EVALUATE,
        state=state,
        stage=0,
        spec=pb.Job(evaluate_spec=pb.EvaluateSpec(**asked)).SerializeToString(),
        result=pb.JobResult(evaluate_result=result).SerializeToString(),
        attempt=1,
        failures=0,
        max_failures=5,
        holder="",
        creator="",
        campaign="",
        create_time=TIME,
        end_time=f"2026-01-02 00:00:{number:02}",
        update_time=TIME,
    )


async def test_earlier_figures_become_evaluations(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'registry.db'}"
    await asyncio.to_thread(command.upgrade, config(url), "0004")
    database = Database(url)
    d, e = f"{P}/datasets/d", f"{P}/datasets/e"
    done, failed = pb.JOB_STATE_SUCCEEDED, pb.JOB_STATE_FAILED
    async with database.write() as session:
        await fill(session)
        await measured(session, 1, 0.7, done, dataset=d)
        await measured(session, 2, 0.8, done, dataset=d)
        await measured(session, 3, 0.3, done, dataset=d, box=Box.of_shape((1, 2, 3)).to_proto())
        await measured(session, 4, 0.9, failed, dataset=d)
        await measured(session, 5, 0.0, done, dataset=e)
        # What is gone leaves nothing behind.
        await measured(session, 6, 0.1, done, dataset=f"{P}/datasets/gone")
        await measured(session, 7, 0.1, done, dataset=d, version=f"{P}/models/m/versions/9")
    await database.close()
    await upgrade(url)
    database = Database(url)
    async with database.read() as session:
        ((version,), _) = await list_versions(session, f"{P}/models/m", 10, "")
    await database.close()
    assert dict(version.metrics) == {"loss": 0.5, "steps": 3}
    told = [(each.dataset, each.metrics["iou"], each.job) for each in version.evaluations]
    assert told == [(e, 0.0, f"{P}/jobs/j5"), (d, 0.3, f"{P}/jobs/j3"), (d, 0.8, f"{P}/jobs/j2")]
    assert Box.from_proto(version.evaluations[1].box) == Box.of_shape((1, 2, 3))
    assert Box.from_proto(version.evaluations[2].box) == Box.of_shape((2, 4, 6))
    assert version.evaluations[2].voxels == 7
