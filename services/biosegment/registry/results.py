"""What follows from a job that has ended, recorded in the transaction that ends it.

Each function checks everything before it changes anything.
"""

import re
from collections.abc import Sequence
from math import isfinite

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from biosegment.client.errors import (
    AbortedError,
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
)
from biosegment.client.geometry import shape_of
from biosegment.client.names import DATASET, SEGMENTATION, VOLUME, check_id, parse, project_of
from biosegment.registry.campaigns.campaigns import check_base, level_zero, require_campaign
from biosegment.registry.campaigns.rounds import enter, require_round, round_word
from biosegment.registry.catalog.datasets import require_dataset
from biosegment.registry.catalog.evaluations import record_evaluation
from biosegment.registry.catalog.models import newest_version, require_model, require_version
from biosegment.registry.catalog.projects import add_named, require_project
from biosegment.registry.database import now
from biosegment.registry.outbox import publish_event
from biosegment.registry.tables.boxes import box_values
from biosegment.registry.tables.campaigns import ProposalRow
from biosegment.registry.tables.catalog import DatasetRow, ModelVersionRow, SegmentationRow
from biosegment.registry.values import check_text, finite, kept_warnings, known
from biosegment.v1 import campaigns_pb2, events_pb2, jobs_pb2

_SHA256 = re.compile(r"[0-9a-f]{64}")
_METADATA_BYTES = 64 << 10
_LABELS = "-labels"


async def apply_result(
    session: AsyncSession, job: jobs_pb2.Job, result: jobs_pb2.JobResult, *, complete: bool
) -> jobs_pb2.JobResult:
    """Records what follows from a job's result.

    Args:
        session: The transaction that ends the job.
        job: The job with its spec.
        result: What the worker sent.
        complete: False when some of the job's blocks are quarantined.

    Returns:
        The result with what the registry adds: the name of a new model version.

    Raises:
        InvalidArgumentError: The result does not fit the spec, or is damaged.
        NotFoundError: What the spec names is gone.
        AlreadyExistsError: A name that the job would give is taken.
        FailedPreconditionError: The record refuses, such as labels of another shape.
        AbortedError: The round of a ranking has moved on.
    """
    wanted = job.WhichOneof("spec")
    given = result.WhichOneof("result")
    if wanted is None or given is None or wanted.removesuffix("_spec") != given[: -len("_result")]:
        raise InvalidArgumentError(
            f"The job {job.name} has {wanted or 'no spec'}, which {given or 'no result'} does not "
            "answer.",
            name=job.name,
        )
    answer = jobs_pb2.JobResult()
    answer.CopyFrom(result)
    warnings = kept_warnings([*job.warnings, *result.warnings])
    answer.warnings[:] = [warning for warning in warnings if warning not in job.warnings]
    if wanted == "import_spec":
        await apply_import(session, job.import_spec, result.import_result)
    elif wanted == "rank_spec":
        await apply_rank(session, job.rank_spec, result.rank_result)
    elif wanted == "train_spec":
        answer.train_result.version = await apply_train(
            session, job.name, job.train_spec, result.train_result, warnings
        )
    elif wanted == "segment_spec":
        await apply_segment(session, job.name, job.segment_spec, complete=complete)
    elif wanted == "evaluate_spec":
        await apply_evaluate(session, job.name, job.evaluate_spec, result.evaluate_result, warnings)
    elif wanted == "search_spec" and result.search_result.HasField("train_result"):
        answer.search_result.train_result.version = await apply_train(
            session, job.name, job.search_spec.training, result.search_result.train_result, warnings
        )
    # Exports and instances leave no trace in the record but their jobs, nor does a search that
    # made no version.
    return answer


async def apply_import(
    session: AsyncSession, spec: jobs_pb2.ImportSpec, result: jobs_pb2.ImportResult
) -> None:
    """Makes the data set, or adds reference labels to one."""
    if min(shape_of(result.shape)) < 1:
        raise InvalidArgumentError(f"The import of {spec.volume} has made a volume of no voxels.")
    parse(VOLUME, spec.volume)
    if spec.WhichOneof("target") == "labels":
        await _add_reference(session, spec, result)
    elif spec.WhichOneof("target") == "dataset":
        await _add_dataset(session, spec, result)


async def _add_reference(
    session: AsyncSession, spec: jobs_pb2.ImportSpec, result: jobs_pb2.ImportResult
) -> None:
    row = await require_dataset(session, spec.labels.dataset, lock=True)
    if shape_of(result.shape) != row.shape:
        got, wanted = (" × ".join(map(str, shape)) for shape in (shape_of(result.shape), row.shape))
        raise FailedPreconditionError(
            f"The labels have {got} voxels (z, y, x) and the data set {row.name} has {wanted}; "
            "import labels of the same extent.",
            name=row.name,
        )
    if spec.volume not in row.reference_volumes:
        row.reference_volumes = [*row.reference_volumes, spec.volume]


async def _add_dataset(
    session: AsyncSession, spec: jobs_pb2.ImportSpec, result: jobs_pb2.ImportResult
) -> None:
    target, size = spec.dataset, result.voxel_size
    identity = check_id(parse(DATASET, target.name)[1], "data set")
    project = project_of(target.name)
    await require_project(session, project)
    check_id(identity + _LABELS, "label volume of the data set")
    if not all(isfinite(edge) and edge > 0 for edge in (size.z, size.y, size.x)):
        raise InvalidArgumentError(
            f"The voxel size of {target.name} is {size.z:g} × {size.y:g} × {size.x:g} nm (z, y, "
            "x); each must be greater than 0. Give it with the import.",
            name=target.name,
        )
    if sum(len(key) + len(value) for key, value in target.metadata.items()) > _METADATA_BYTES:
        raise InvalidArgumentError(
            f"The metadata of {target.name} take more than {_METADATA_BYTES} characters; shorten "
            "them.",
            name=target.name,
        )
    for text in (text for pair in target.metadata.items() for text in pair):
        check_text(text, "metadata", _METADATA_BYTES)
    shape = shape_of(result.shape)
    row = DatasetRow(
        name=target.name,
        project=project,
        display_name=check_text(target.display_name, "display_name"),
        raw_volume=spec.volume,
        label_volume=f"{project}/volumes/{identity}{_LABELS}",
        shape_z=shape[0],
        shape_y=shape[1],
        shape_x=shape[2],
        voxel_z=size.z,
        voxel_y=size.y,
        voxel_x=size.x,
        properties=dict(target.metadata),
        reference_volumes=[],
        revision=0,
        create_time=now(),
    )
    await add_named(session, row, row.name, "data set")
    publish_event(session, events_pb2.DatasetCreated(dataset=row.name), row.name)


async def apply_train(
    session: AsyncSession,
    job: str,
    spec: jobs_pb2.TrainSpec,
    result: jobs_pb2.TrainResult,
    warnings: Sequence[str],
) -> str:
    """Makes the next version of the model, and returns its name."""
    model = await require_model(session, spec.model, lock=True)
    dataset = await require_dataset(session, spec.dataset)
    await check_base(session, spec.base_version, model.name)
    if not 0 <= spec.revision <= dataset.revision:
        raise InvalidArgumentError(
            f"Revision {spec.revision} is not one of {dataset.name}, whose newest is "
            f"{dataset.revision}.",
            name=job,
        )
    if not result.weights or not _SHA256.fullmatch(result.sha256):
        raise InvalidArgumentError(
            f"The result of {job} must name its weights and their SHA-256 in hex; it has "
            f'"{result.weights[:200]}" and "{result.sha256[:80]}".',
            name=job,
        )
    newest = await newest_version(session, model.name)
    row = ModelVersionRow(
        model=model.name,
        number=newest.number + 1 if newest else 1,
        base_version=spec.base_version,
        weights=check_text(result.weights, "weights", 500),
        sha256=result.sha256,
        dataset=dataset.name,
        revision=spec.revision,
        job=job,
        metrics=finite(result.metrics),
        warnings=list(warnings),
        reference=known(result.reference),
        create_time=now(),
    )
    session.add(row)
    publish_event(session, events_pb2.ModelVersionCreated(version=row.name), row.name)
    await session.flush()
    return row.name


async def apply_segment(
    session: AsyncSession, job: str, spec: jobs_pb2.SegmentSpec, *, complete: bool
) -> None:
    """Records the segmentation; a job that was retried for its lost blocks updates its own."""
    parse(SEGMENTATION, spec.segmentation)
    dataset = await require_dataset(session, spec.dataset)
    if not spec.segmentation.startswith(f"{dataset.name}/"):
        raise InvalidArgumentError(
            f"{spec.segmentation} is not a segmentation of {dataset.name}.", name=spec.segmentation
        )
    parse(VOLUME, spec.volume)
    version = await require_version(session, spec.version)
    row = await session.scalar(
        select(SegmentationRow).where(SegmentationRow.name == spec.segmentation).with_for_update()
    )
    if row is not None and row.job != job:
        raise AlreadyExistsError(
            f'The segmentation "{spec.segmentation}" exists already, made by {row.job}; choose '
            "another name.",
            name=spec.segmentation,
        )
    if row is None:
        row = SegmentationRow(
            name=spec.segmentation,
            dataset=dataset.name,
            version=version.name,
            volume=spec.volume,
            job=job,
        )
        session.add(row)
    row.complete, row.create_time = complete, now()
    await session.flush()


async def apply_evaluate(
    session: AsyncSession,
    job: str,
    spec: jobs_pb2.EvaluateSpec,
    result: jobs_pb2.EvaluateResult,
    warnings: Sequence[str],
) -> None:
    """Keeps the figures, and gives them to the round that asked for them, which is then over."""
    current = await require_round(session, spec.round, lock=True) if spec.round else None
    version = await require_version(session, spec.version, lock=True)
    await record_evaluation(session, version, job, spec, result, warnings)
    if current is not None:
        current.metrics = {**current.metrics, **finite(result.metrics)}
        # Whoever started it may have been cut off before it could say so.
        current.evaluate_job = current.evaluate_job or job
        if current.state == campaigns_pb2.ROUND_STATE_EVALUATING:
            enter(current, campaigns_pb2.ROUND_STATE_DONE)


async def apply_rank(
    session: AsyncSession, spec: jobs_pb2.RankSpec, result: jobs_pb2.RankResult
) -> None:
    """Writes the proposals, and opens the round to the annotators."""
    current = await require_round(session, spec.round, lock=True)
    if current.state != campaigns_pb2.ROUND_STATE_RANKING:
        raise AbortedError(
            f'The round "{spec.round}" is {round_word(current.state)} and takes no more proposals.',
            name=spec.round,
        )
    if not result.patches:
        raise FailedPreconditionError(
            f'The ranking for "{spec.round}" chose no patch out of {result.candidates} '
            "candidates; widen the campaign's region, or end the campaign.",
            name=spec.round,
        )
    campaign = await require_campaign(session, current.campaign)
    dataset = await require_dataset(session, campaign.dataset)
    _check_patches(result.patches, dataset)
    last = await session.scalar(
        select(func.max(ProposalRow.number)).where(ProposalRow.campaign == campaign.name)
    )
    for number, patch in enumerate(result.patches, (last or 0) + 1):
        session.add(
            ProposalRow(
                campaign=campaign.name,
                number=number,
                round_index=current.index,
                dataset=dataset.name,
                score=patch.score,
                statistics=finite(patch.statistics),
                state=campaigns_pb2.PROPOSAL_STATE_OPEN,
                **box_values(level_zero(patch.box, "box")),
            )
        )
    enter(current, campaigns_pb2.ROUND_STATE_ANNOTATING)
    publish_event(session, events_pb2.RoundProposed(round=current.name), current.name)
    await session.flush()


def _check_patches(patches: Sequence[jobs_pb2.RankedPatch], dataset: DatasetRow) -> None:
    for patch in patches:
        box = level_zero(patch.box, "box of a ranked patch")
        box.within(dataset.shape, f'the data set "{dataset.name}"')
        if not isfinite(patch.score):
            raise InvalidArgumentError(
                f"The patch at {box} has the score {patch.score}, which ranks nothing.", box=box
            )
