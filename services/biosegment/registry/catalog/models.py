"""Models and their versions."""

from typing import Any

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from biosegment.client.errors import InvalidArgumentError, NotFoundError
from biosegment.client.names import MODEL, VERSION, not_found, parse, parse_int, project_of
from biosegment.registry.catalog import evaluations
from biosegment.registry.catalog.classes import require_classes
from biosegment.registry.catalog.projects import add_named, require_project
from biosegment.registry.database import now
from biosegment.registry.listing import COMPARED, after_name, after_number, list_page
from biosegment.registry.tables.catalog import ModelRow, ModelVersionRow
from biosegment.registry.values import check_text, timestamp
from biosegment.v1 import registry_pb2 as pb

_NEWEST = 10**18
_PARAMETER_BYTES = 64 << 10
# Told of each version.
_EVALUATIONS = 20


async def create_model(session: AsyncSession, model: pb.Model) -> pb.Model:
    """Makes a model without weights.

    Raises:
        InvalidArgumentError: A field is wrong, a class is unknown, or background is not first.
        NotFoundError: There is no such project.
        AlreadyExistsError: The name is taken.
    """
    parse(MODEL, model.name)
    project = project_of(model.name)
    await require_project(session, project)
    classes = list(model.classes)
    if len(classes) < 2 or classes[0] != 0 or len(set(classes)) < len(classes):
        raise InvalidArgumentError(
            f"A model tells two or more classes apart, each named once, background (0) first; got "
            f"{classes[:20]}.",
            field="model.classes",
        )
    await require_classes(session, project, classes)
    if not model.architecture:
        raise InvalidArgumentError(
            "The model names no architecture; `biosegment model architectures` lists those on "
            "offer.",
            field="model.architecture",
        )
    row = ModelRow(
        name=model.name,
        project=project,
        display_name=check_text(model.display_name, "model.display_name"),
        architecture=check_text(model.architecture, "model.architecture"),
        parameters=_parameters(model.parameters),
        classes=classes,
        create_time=now(),
    )
    await add_named(session, row, row.name, "model")
    return to_proto(row)


def _parameters(given: Struct) -> dict[str, Any]:
    try:
        if given.ByteSize() > _PARAMETER_BYTES:
            raise ValueError(f"they take more than {_PARAMETER_BYTES} bytes")
        return dict(json_format.MessageToDict(given))
    except (ValueError, json_format.Error) as error:
        raise InvalidArgumentError(
            f"The model's parameters cannot be kept: {error}.", field="model.parameters"
        ) from None


async def require_model(session: AsyncSession, name: str, *, lock: bool = False) -> ModelRow:
    """The row of a model.

    Args:
        session: The transaction.
        name: projects/p/models/m
        lock: Hold the row until the transaction ends; whoever adds a version does.

    Raises:
        InvalidArgumentError: The name does not follow the pattern.
        NotFoundError: There is no such model.
    """
    parse(MODEL, name)
    row = await session.get(ModelRow, name, with_for_update=lock or None)
    if row is None:
        others = select(ModelRow.name).where(ModelRow.project == project_of(name))
        raise not_found(MODEL, name, await session.scalars(others.limit(COMPARED)))
    return row


async def list_models(
    session: AsyncSession, project: str, page_size: int, page_token: str
) -> tuple[list[pb.Model], str]:
    """A page of a project's models by name, and the next page's token.

    Raises:
        InvalidArgumentError: page_size or page_token is wrong.
    """
    query = (
        select(ModelRow)
        .where(ModelRow.project == project, ModelRow.name > after_name(page_token))
        .order_by(ModelRow.name)
    )
    return await list_page(session, query, page_size, to_proto, lambda row: row.name)


def to_proto(row: ModelRow) -> pb.Model:
    """The message of a row."""
    parameters = Struct()
    parameters.update(row.parameters)
    return pb.Model(
        name=row.name,
        display_name=row.display_name,
        architecture=row.architecture,
        parameters=parameters,
        classes=row.classes,
        create_time=timestamp(row.create_time),
    )


async def newest_version(session: AsyncSession, model: str) -> ModelVersionRow | None:
    """The newest version of a model, None if it has none."""
    return await session.scalar(
        select(ModelVersionRow)
        .where(ModelVersionRow.model == model)
        .order_by(ModelVersionRow.number.desc())
        .limit(1)
    )


async def find_version(session: AsyncSession, name: str) -> ModelVersionRow:
    """The row of a version; "versions/latest" is the newest.

    Raises:
        InvalidArgumentError: The name does not follow the pattern.
        NotFoundError: There is no such version.
    """
    if not name.endswith("/versions/latest"):
        return await require_version(session, name)
    project, model, _ = parse(VERSION, name)
    parent = MODEL.format(project, model)
    await require_model(session, parent)
    row = await newest_version(session, parent)
    if row is None:
        raise NotFoundError(
            f'The model "{model}" has no version yet. Train one with: biosegment train {model} '
            "DATASET",
            name=name,
        )
    return row


async def require_version(
    session: AsyncSession, name: str, *, lock: bool = False
) -> ModelVersionRow:
    """The row of a version named by its number.

    Args:
        session: The transaction.
        name: projects/p/models/m/versions/v; not "latest".
        lock: Hold the row until the transaction ends.

    Raises:
        InvalidArgumentError: The name does not follow the pattern.
        NotFoundError: There is no such version.
    """
    ids, number = parse_int(VERSION, name)
    project, model = ids.split("/")
    key = (MODEL.format(project, model), number)
    row = await session.get(ModelVersionRow, key, with_for_update=lock or None)
    if row is None:
        await require_model(session, key[0])
        raise not_found(VERSION, name)
    return row


async def list_versions(
    session: AsyncSession, model: str, page_size: int, page_token: str
) -> tuple[list[pb.ModelVersion], str]:
    """A page of a model's versions, newest first, and the next page's token.

    Raises:
        InvalidArgumentError: page_size or page_token is wrong.
    """
    query = (
        select(ModelVersionRow)
        .where(
            ModelVersionRow.model == model,
            ModelVersionRow.number < after_number(page_token, first=_NEWEST),
        )
        .order_by(ModelVersionRow.number.desc())
    )
    return await list_page(session, query, page_size, version_proto, lambda row: row.number)


def version_proto(row: ModelVersionRow) -> pb.ModelVersion:
    """The message of a row."""
    version = pb.ModelVersion(
        name=row.name,
        base_version=row.base_version,
        weights=row.weights,
        sha256=row.sha256,
        dataset=row.dataset,
        revision=row.revision,
        job=row.job,
        metrics=row.metrics,
        warnings=row.warnings,
        evaluations=[evaluations.to_proto(found) for found in row.evaluations[:_EVALUATIONS]],
        create_time=timestamp(row.create_time),
    )
    if row.reference:
        json_format.ParseDict(row.reference, version.reference)
    return version
