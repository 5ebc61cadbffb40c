"""The annotation log."""

from datetime import datetime

from sqlalchemy import JSON, Double, ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from biosegment.registry.database import Base
from biosegment.registry.tables.boxes import BoxColumns
from biosegment.registry.tables.catalog import NAME, DatasetRow


class AnnotationRow(BoxColumns, Base):
    """One commit; rows are added and never changed.

    The key is (data set, revision), so that no revision can be given twice.
    """

    __tablename__ = "annotation"
    __table_args__ = (Index("ix_annotation_undone", "dataset", "undone_revision"),)

    dataset: Mapped[str] = mapped_column(ForeignKey(DatasetRow.name), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    author: Mapped[str] = mapped_column(String(200))
    create_time: Mapped[datetime]
    # zlib over one byte per voxel in C order. Loaded only where asked for.
    mask: Mapped[bytes] = mapped_column(LargeBinary, deferred=True, deferred_raiseload=True)
    mask_bytes: Mapped[int]
    classes: Mapped[list[int]] = mapped_column(JSON)
    labelled_voxels: Mapped[int]
    base_revision: Mapped[int]
    seconds_spent: Mapped[float] = mapped_column(Double)
    strokes: Mapped[int]
    source_tool: Mapped[str] = mapped_column(String(200))
    proposal: Mapped[str] = mapped_column(NAME)
    # 0 in commits that are no undo.
    undone_revision: Mapped[int]

    @property
    def name(self) -> str:
        """projects/p/datasets/d/annotations/r."""
        return f"{self.dataset}/annotations/{self.revision}"
