"""Label classes: one table per project."""

import re
from collections.abc import Iterable

from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from biosegment.client.errors import InvalidArgumentError
from biosegment.client.names import LABEL_CLASS, PROJECT, parse_int
from biosegment.registry.listing import after_number, list_page
from biosegment.registry.tables.catalog import LabelClassRow
from biosegment.registry.values import check_text
from biosegment.v1 import registry_pb2 as pb

_FIELDS = ("display_name", "color", "ontology_term")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_LAST_VALUE = 253
_BACKGROUND = "#000000"
# Okabe and Ito (2008), "Color Universal Design": distinct to colour-blind people too.
_PALETTE = (
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7",
)  # fmt: skip


def background(project: str) -> LabelClassRow:
    """The class that every project begins with."""
    return LabelClassRow(
        project=project, value=0, display_name="background", color=_BACKGROUND, ontology_term=""
    )


async def put_label_class(
    session: AsyncSession, given: pb.LabelClass, mask: FieldMask | None = None
) -> pb.LabelClass:
    """Makes a label class or changes it. The caller holds the project's row.

    Args:
        session: The transaction.
        given: The class.
        mask: The fields to set; None means those that are not empty.

    Raises:
        InvalidArgumentError: Name, value, colour, a text or the mask is not a legal one.
    """
    project, value = class_key(given.name)
    if value > _LAST_VALUE or given.value not in (0, value):
        raise InvalidArgumentError(
            f'The label class "{given.name}" must have a value from 0 to {_LAST_VALUE}, and the '
            f"field value, here {given.value}, must say the same as its name.",
            field="label_class.value",
            name=given.name,
        )
    wanted = _wanted(given, mask)
    plain = background(project)
    row = await session.get(LabelClassRow, (project, value))
    if row is None:
        row = LabelClassRow(
            project=project,
            value=value,
            display_name=f"class {value}" if value else plain.display_name,
            color=_palette(value),
            ontology_term="",
        )
        session.add(row)
    if "display_name" in wanted:
        row.display_name = _display_name(given, value, plain.display_name)
    if "color" in wanted:
        row.color = given.color.lower() or _palette(value)
    if "ontology_term" in wanted:
        row.ontology_term = check_text(given.ontology_term, "label_class.ontology_term")
    return to_proto(row)


def _wanted(given: pb.LabelClass, mask: FieldMask | None) -> set[str]:
    """The fields to set."""
    if given.color and not _COLOR.fullmatch(given.color):
        raise InvalidArgumentError(
            f'"{given.color[:40]}" is no colour; write it like #1f77b4.', field="label_class.color"
        )
    if mask is None:
        return {field for field in _FIELDS if getattr(given, field)}
    strange = set(mask.paths) - set(_FIELDS)
    if strange:
        raise InvalidArgumentError(
            f'"{sorted(strange)[0][:40]}" is not a field of label classes that can be set; those '
            f"are {', '.join(_FIELDS)}.",
            field="update_mask",
        )
    return set(mask.paths)


def _palette(value: int) -> str:
    return _PALETTE[(value - 1) % len(_PALETTE)] if value else _BACKGROUND


def _display_name(given: pb.LabelClass, value: int, plain: str) -> str:
    name = check_text(given.display_name, "label_class.display_name").strip()
    if not name:
        raise InvalidArgumentError(
            f"Class {value} needs a name, such as mitochondria.", field="label_class.display_name"
        )
    if value == 0 and name != plain:
        raise InvalidArgumentError(
            f'Class 0 is the {plain} of every model and cannot be named "{name}"; give what you '
            "want to find a value from 1 up.",
            field="label_class.display_name",
        )
    return name


def class_key(name: str) -> tuple[str, int]:
    """Project and value of a label class's name.

    Raises:
        InvalidArgumentError: It is not the name of a label class.
    """
    project, value = parse_int(LABEL_CLASS, name)
    return PROJECT.format(project), value


async def list_label_classes(
    session: AsyncSession, project: str, page_size: int, page_token: str
) -> tuple[list[pb.LabelClass], str]:
    """A page of a project's classes by value, and the next page's token.

    Raises:
        InvalidArgumentError: page_size or page_token is wrong.
    """
    query = (
        select(LabelClassRow)
        .where(
            LabelClassRow.project == project,
            LabelClassRow.value > after_number(page_token, first=-1),
        )
        .order_by(LabelClassRow.value)
    )
    return await list_page(
        session, query, page_size or _LAST_VALUE + 1, to_proto, lambda row: row.value
    )


async def require_classes(session: AsyncSession, project: str, values: Iterable[int]) -> None:
    """Returns if every value is in the project's table.

    Raises:
        InvalidArgumentError: One is not.
    """
    known = set(
        await session.scalars(select(LabelClassRow.value).where(LabelClassRow.project == project))
    )
    unknown = sorted(set(values) - known)
    if unknown:
        raise InvalidArgumentError(
            f"{project} has no label class of value {', '.join(map(str, unknown[:10]))}; its "
            f"classes are {', '.join(map(str, sorted(known)))}. Add one with: biosegment class set "
            f"{unknown[0]} NAME",
            project=project,
            values=unknown[:10],
        )


def to_proto(row: LabelClassRow) -> pb.LabelClass:
    """The message of a row."""
    return pb.LabelClass(
        name=f"{row.project}/labelClasses/{row.value}",
        value=row.value,
        display_name=row.display_name,
        color=row.color,
        ontology_term=row.ontology_term,
    )
