"""Projects, data sets, label classes, models, segmentations.

Resource names never change, so they are the keys; a list is a range of names.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    String,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from biosegment.registry.database import Base
from biosegment.registry.tables.boxes import BoxColumns

NAME = String(250)
"""A resource name; the longest legal one has 220 characters."""
TEXT = String(200)
"""A line for people."""


class ProjectRow(Base):
    """People and their data sets."""

    __tablename__ = "project"

    name: Mapped[str] = mapped_column(NAME, primary_key=True)
    display_name: Mapped[str] = mapped_column(TEXT)
    create_time: Mapped[datetime]


class DatasetRow(Base):
    """A raw volume with its metadata. Locking the row orders the commits to its log."""

    __tablename__ = "dataset"

    name: Mapped[str] = mapped_column(NAME, primary_key=True)
    project: Mapped[str] = mapped_column(ForeignKey(ProjectRow.name), index=True)
    display_name: Mapped[str] = mapped_column(TEXT)
    raw_volume: Mapped[str] = mapped_column(NAME)
    label_volume: Mapped[str] = mapped_column(NAME)
    shape_z: Mapped[int]
    shape_y: Mapped[int]
    shape_x: Mapped[int]
    voxel_z: Mapped[float] = mapped_column(Double)
    voxel_y: Mapped[float] = mapped_column(Double)
    voxel_x: Mapped[float] = mapped_column(Double)
    properties: Mapped[dict[str, str]] = mapped_column(JSON)
    reference_volumes: Mapped[list[str]] = mapped_column(JSON)
    revision: Mapped[int]
    create_time: Mapped[datetime]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Extent in voxels, (z, y, x)."""
        return self.shape_z, self.shape_y, self.shape_x


class LabelClassRow(Base):
    """A class of voxels."""

    __tablename__ = "label_class"
    __table_args__ = (CheckConstraint("value >= 0 AND value <= 253", name="value"),)

    project: Mapped[str] = mapped_column(ForeignKey(ProjectRow.name), primary_key=True)
    value: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    display_name: Mapped[str] = mapped_column(TEXT)
    color: Mapped[str] = mapped_column(String(7))
    ontology_term: Mapped[str] = mapped_column(TEXT)


class ModelRow(Base):
    """An architecture with its classes. Locking the row numbers its versions."""

    __tablename__ = "model"

    name: Mapped[str] = mapped_column(NAME, primary_key=True)
    project: Mapped[str] = mapped_column(ForeignKey(ProjectRow.name), index=True)
    display_name: Mapped[str] = mapped_column(TEXT)
    architecture: Mapped[str] = mapped_column(TEXT)
    parameters: Mapped[dict[str, Any]] = mapped_column(JSON)
    classes: Mapped[list[int]] = mapped_column(JSON)
    create_time: Mapped[datetime]


class ModelVersionRow(Base):
    """The weights of a model, with their lineage."""

    __tablename__ = "model_version"

    model: Mapped[str] = mapped_column(ForeignKey(ModelRow.name), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    base_version: Mapped[str] = mapped_column(NAME)
    weights: Mapped[str] = mapped_column(String(500))
    sha256: Mapped[str] = mapped_column(String(64))
    dataset: Mapped[str] = mapped_column(ForeignKey(DatasetRow.name), index=True)
    revision: Mapped[int]
    job: Mapped[str] = mapped_column(NAME)
    metrics: Mapped[dict[str, float]] = mapped_column(JSON)
    warnings: Mapped[list[str]] = mapped_column(JSON, server_default="[]")
    reference: Mapped[dict[str, Any]] = mapped_column(JSON, server_default="{}")
    create_time: Mapped[datetime]
    evaluations: Mapped[list["EvaluationRow"]] = relationship(
        lazy="selectin", order_by="EvaluationRow.create_time.desc()", viewonly=True
    )

    @property
    def name(self) -> str:
        """projects/p/models/m/versions/v."""
        return f"{self.model}/versions/{self.number}"


class EvaluationRow(BoxColumns, Base):
    """A version measured; once for each truth and box."""

    __tablename__ = "evaluation"
    __table_args__ = (
        ForeignKeyConstraint(["model", "number"], [ModelVersionRow.model, ModelVersionRow.number]),
        Index("ix_evaluation_version", "model", "number"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(NAME)
    number: Mapped[int]
    dataset: Mapped[str] = mapped_column(ForeignKey(DatasetRow.name), index=True)
    reference_volume: Mapped[str] = mapped_column(NAME)
    metrics: Mapped[dict[str, float]] = mapped_column(JSON)
    voxels: Mapped[int]
    warnings: Mapped[list[str]] = mapped_column(JSON)
    job: Mapped[str] = mapped_column(NAME)
    create_time: Mapped[datetime]


class SegmentationRow(Base):
    """A model version applied to a whole data set."""

    __tablename__ = "segmentation"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(NAME, unique=True)
    dataset: Mapped[str] = mapped_column(ForeignKey(DatasetRow.name), index=True)
    version: Mapped[str] = mapped_column(NAME)
    volume: Mapped[str] = mapped_column(NAME)
    job: Mapped[str] = mapped_column(NAME)
    complete: Mapped[bool]
    create_time: Mapped[datetime]
