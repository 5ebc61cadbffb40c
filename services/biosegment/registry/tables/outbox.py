"""Messages that wait to go out, and answers to requests that may be repeated."""

from datetime import datetime

from sqlalchemy import JSON, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from biosegment.registry.database import Base


class OutboxRow(Base):
    """A message for the bus, written in the transaction that it tells of."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(primary_key=True)
    message_id: Mapped[str] = mapped_column(String(36), unique=True)
    subject: Mapped[str] = mapped_column(String(200))
    headers: Mapped[dict[str, str]] = mapped_column(JSON)
    payload: Mapped[bytes] = mapped_column(LargeBinary)


class RequestRow(Base):
    """The first answer to a request_id."""

    __tablename__ = "request"

    request_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    method: Mapped[str] = mapped_column(String(64))
    answer: Mapped[bytes] = mapped_column(LargeBinary)
    create_time: Mapped[datetime] = mapped_column(index=True)
