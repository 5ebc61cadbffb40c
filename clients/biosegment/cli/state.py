"""What `biosegment status` finds, and what a person can do about it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from biosegment.client import Client
    from biosegment.client.health import Health

HEALTHY, PARTS_DOWN, NOBODY, REFUSED = 0, 1, 3, 4
"""Exit statuses. 2 is that of a command that was written wrongly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How a platform is.

    Attributes:
        status: One of the exit statuses.
        token: "accepted", "refused", or "unknown" where nobody could be asked.
        advice: A sentence; empty where all is well.
    """

    status: int
    token: str
    advice: str = ""


def state_of(client: "Client", answers: "Mapping[str, Health]") -> State:
    """Tells a platform that works from one that is gone, in parts, or another one.

    Args:
        client: To ask whether the token is accepted.
        answers: How each service answered its health check, by name.
    """
    down = [name for name, answer in answers.items() if answer != "serving"]
    path = client.connection.path
    if all(answer == "unreachable" for answer in answers.values()):
        return State(status=NOBODY, token="unknown", advice=_nobody(path))  # noqa: S106
    token = _token(client) if answers["registry"] == "serving" else "unknown"
    if token == "refused":  # noqa: S105
        advice = (
            "The platform that answers refuses the token"
            f"{f' in {path}' if path else ''}: it is another one, or was given a new token. Name "
            "its connection file with --connection or BIOSEGMENT_CONNECTION."
        )
        return State(status=REFUSED, token=token, advice=advice)
    if down:
        logs = [str(log) for name in down if (log := _log(path, name)) is not None]
        where = f"; {', '.join(logs)} say why" if logs else ""
        advice = f"{', '.join(down)} cannot be used now{where}."
        return State(status=PARTS_DOWN, token=token, advice=advice)
    return State(status=HEALTHY, token=token)


def _token(client: "Client") -> str:
    from biosegment.client.errors import DomainError, UnauthenticatedError

    try:
        client.projects(limit=1)
    except UnauthenticatedError:
        return "refused"
    except DomainError:
        return "unknown"
    return "accepted"


def _nobody(path: Path | None) -> str:
    if path is None:
        return "No platform answers there."
    log = _log(path, "up")
    ended = "" if log is None else f" {log} says how it ended: {_last_line(log)}."
    home = "" if log is None else f" --home {path.parent}"
    return (
        f"No platform answers at the addresses in {path}: it has stopped or died.{ended} Start it "
        f"again with: biosegment up{home}"
    )


def _last_line(log: Path) -> str:
    """The last that `up` noted; one that was killed noted nothing of that."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 2000))
            last = file.read().decode(errors="replace").splitlines()[-1]
    except (OSError, IndexError):
        return "nothing"
    ended = last.endswith(" stopped")
    return last if ended else f"{last} (and then it was killed)"


def _log(path: Path | None, name: str) -> Path | None:
    log = None if path is None else path.absolute().parent / "logs" / f"{name}.log"
    return log if log is not None and log.exists() else None
