"""Campaigns, their rounds and proposals."""

from datetime import datetime

from sqlalchemy import (
    JSON,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    String,
    Text,
)
from sqlalchemy.orm import Mapped, mapped_column

from biosegment.registry.database import Base
from biosegment.registry.tables.boxes import BoxColumns
from biosegment.registry.tables.catalog import NAME, DatasetRow, ModelRow, ProjectRow


class CampaignRow(Base):
    """An active-learning effort. Locking the row orders its rounds."""

    __tablename__ = "campaign"

    name: Mapped[str] = mapped_column(NAME, primary_key=True)
    project: Mapped[str] = mapped_column(ForeignKey(ProjectRow.name), index=True)
    dataset: Mapped[str] = mapped_column(ForeignKey(DatasetRow.name), index=True)
    model: Mapped[str] = mapped_column(ForeignKey(ModelRow.name), index=True)
    # biosegment.v1.Campaign as it was made; it does not change but for its state.
    plan: Mapped[bytes] = mapped_column(LargeBinary)
    state: Mapped[int]
    state_reason: Mapped[str] = mapped_column(Text)
    create_time: Mapped[datetime]


class RoundRow(Base):
    """Rank, propose, annotate, fine-tune, evaluate."""

    __tablename__ = "round"

    campaign: Mapped[str] = mapped_column(ForeignKey(CampaignRow.name), primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    state: Mapped[int]
    base_version: Mapped[str] = mapped_column(NAME)
    version: Mapped[str] = mapped_column(NAME, default="")
    revision: Mapped[int] = mapped_column(default=0)
    rank_job: Mapped[str] = mapped_column(NAME, default="")
    train_job: Mapped[str] = mapped_column(NAME, default="")
    evaluate_job: Mapped[str] = mapped_column(NAME, default="")
    metrics: Mapped[dict[str, float]] = mapped_column(JSON, default=dict)
    seconds: Mapped[dict[str, float]] = mapped_column(JSON, default=dict)
    create_time: Mapped[datetime]
    state_time: Mapped[datetime]

    @property
    def name(self) -> str:
        """projects/p/campaigns/c/rounds/i."""
        return f"{self.campaign}/rounds/{self.index}"


class ProposalRow(BoxColumns, Base):
    """A patch that the model wants labelled. Numbers grow by round, best first in each."""

    __tablename__ = "proposal"
    __table_args__ = (
        ForeignKeyConstraint(["campaign", "round_index"], ["round.campaign", "round.index"]),
        Index("ix_proposal_round_state", "campaign", "round_index", "state"),
    )

    campaign: Mapped[str] = mapped_column(NAME, primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    round_index: Mapped[int]
    dataset: Mapped[str] = mapped_column(ForeignKey(DatasetRow.name))
    score: Mapped[float] = mapped_column(Double)
    statistics: Mapped[dict[str, float]] = mapped_column(JSON)
    state: Mapped[int]
    claimant: Mapped[str] = mapped_column(String(200), default="")
    lease_until: Mapped[datetime | None]
    annotation: Mapped[str] = mapped_column(NAME, default="")

    @property
    def name(self) -> str:
        """projects/p/campaigns/c/proposals/n."""
        return f"{self.campaign}/proposals/{self.number}"
