"""Jobs, and the ledgers of blocked jobs."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, LargeBinary, String, false
from sqlalchemy.orm import Mapped, mapped_column

from biosegment.registry.database import Base


class JobRow(Base):
    """A job. Enums are stored by number, messages serialised."""

    __tablename__ = "job"
    __table_args__ = (Index("ix_job_state_kind", "state", "kind"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    project: Mapped[str] = mapped_column(String(80), index=True)
    kind: Mapped[int]
    state: Mapped[int]
    stage: Mapped[int]
    spec: Mapped[bytes] = mapped_column(LargeBinary)
    result: Mapped[bytes | None] = mapped_column(LargeBinary)
    error: Mapped[bytes | None] = mapped_column(LargeBinary)
    progress: Mapped[bytes | None] = mapped_column(LargeBinary)
    attempt: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(default=0)
    max_failures: Mapped[int]
    finishing: Mapped[bool] = mapped_column(default=False, server_default=false())
    holder: Mapped[str] = mapped_column(String(200), default="")
    lease_until: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    publish_time: Mapped[datetime | None]
    creator: Mapped[str] = mapped_column(String(200))
    campaign: Mapped[str] = mapped_column(String(200), default="", index=True)
    create_time: Mapped[datetime]
    start_time: Mapped[datetime | None]
    end_time: Mapped[datetime | None]
    update_time: Mapped[datetime]


class LedgerRow(Base):
    """The block grid of a job, and how much of it is settled."""

    __tablename__ = "ledger"

    job: Mapped[str] = mapped_column(ForeignKey("job.name", ondelete="CASCADE"), primary_key=True)
    box: Mapped[bytes] = mapped_column(LargeBinary)
    block: Mapped[bytes] = mapped_column(LargeBinary)
    run_length: Mapped[int]
    total: Mapped[int]
    done: Mapped[int] = mapped_column(default=0)
    quarantined: Mapped[int] = mapped_column(default=0)
    cursor: Mapped[int] = mapped_column(default=0)
    phase: Mapped[int] = mapped_column(default=0, server_default="0")
    skipped: Mapped[int] = mapped_column(default=0, server_default="0")
    start_time: Mapped[datetime]


class LedgerPageRow(Base):
    """One bit per block, set once its output is stored; pages exist where a bit is set."""

    __tablename__ = "ledger_page"

    job: Mapped[str] = mapped_column(ForeignKey("job.name", ondelete="CASCADE"), primary_key=True)
    page: Mapped[int] = mapped_column(primary_key=True)
    bits: Mapped[bytes] = mapped_column(LargeBinary)


class RunRow(Base):
    """A run of blocks on the frontier: published, or held by a worker."""

    __tablename__ = "run"

    job: Mapped[str] = mapped_column(ForeignKey("job.name", ondelete="CASCADE"), primary_key=True)
    first: Mapped[int] = mapped_column(primary_key=True)
    count: Mapped[int]
    attempt: Mapped[int] = mapped_column(default=0)
    losses: Mapped[int] = mapped_column(default=0)
    part: Mapped[float] = mapped_column(default=0.0, server_default="0")
    holder: Mapped[str] = mapped_column(String(200), default="")
    lease_until: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    publish_time: Mapped[datetime | None]


class BlockFailureRow(Base):
    """A block that has failed, and whether it was given up."""

    __tablename__ = "block_failure"

    job: Mapped[str] = mapped_column(ForeignKey("job.name", ondelete="CASCADE"), primary_key=True)
    block: Mapped[int] = mapped_column(primary_key=True)
    failures: Mapped[int]
    quarantined: Mapped[bool] = mapped_column(default=False)
    error: Mapped[bytes] = mapped_column(LargeBinary)
