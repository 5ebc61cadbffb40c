"""Where the platform is and how to get in: one small JSON file."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from biosegment.client.errors import DomainError, InvalidArgumentError, NotFoundError

SERVICES = ("registry", "storage", "ingest", "acquisition", "training", "inference")


def default_home() -> Path:
    """The folder of `biosegment up` unless told otherwise."""
    return Path(os.environ.get("BIOSEGMENT_HOME", Path.home() / ".biosegment"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Addresses of the services and the token to call them with.

    Attributes:
        token: Sent with every request; never printed.
        addresses: host:port by service name; "*" stands for every service not named.
        gateway_url: Where the gateway listens, for people.
        path: The file that it was read from; None where it was read from none.
    """

    token: str = field(repr=False)
    addresses: dict[str, str]
    gateway_url: str = ""
    path: Path | None = field(default=None, compare=False)

    def address(self, service: str) -> str:
        """The address of a service.

        Raises:
            NotFoundError: The file names no address for it.
        """
        found = self.addresses.get(service, self.addresses.get("*"))
        if found is None:
            raise NotFoundError(
                f"The connection file names no address for the {service} service.", service=service
            )
        return found

    @classmethod
    def load(cls, path: Path | None = None) -> "Connection":
        """Reads a connection file.

        Args:
            path: The file; else the one that BIOSEGMENT_CONNECTION names; else
                connection.json in the default home.

        Raises:
            NotFoundError: There is no such file.
            InvalidArgumentError: It is not a connection file.
        """
        if path is None:
            named = os.environ.get("BIOSEGMENT_CONNECTION")
            path = Path(named) if named else default_home() / "connection.json"
        try:
            content = json.loads(path.read_text())
        except FileNotFoundError:
            raise NotFoundError(
                f"No platform is known at {path}. Start one with `biosegment up`, or name its "
                "connection file with --connection or BIOSEGMENT_CONNECTION.",
                path=path,
            ) from None
        except (OSError, ValueError) as error:
            raise InvalidArgumentError(
                f"{path} is not a connection file: {error}.", path=path
            ) from None
        try:
            return cls(
                token=content["token"],
                addresses=dict(content["addresses"]),
                gateway_url=content.get("gateway_url", ""),
                path=path,
            )
        except (KeyError, TypeError, ValueError):
            raise InvalidArgumentError(
                f"{path} is not a connection file: it lacks token or addresses.", path=path
            ) from None

    def fresh(self) -> "Connection":
        """What the file says now: a platform that was started anew may have other addresses.

        A connection that came from no file, or whose file is gone or cannot be read, stays as it
        is.
        """
        if self.path is None:
            return self
        try:
            return Connection.load(self.path)
        except DomainError:
            return self

    @property
    def is_stale(self) -> bool:
        """Whether its file is gone: `biosegment up` removes it when it ends in order."""
        return self.path is not None and not self.path.exists()

    def save(self, path: Path) -> None:
        """Writes the file so that only its owner can read it, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(path.name + ".new")
        draft.unlink(missing_ok=True)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump(
                {
                    "token": self.token,
                    "addresses": self.addresses,
                    "gateway_url": self.gateway_url,
                },
                file,
                indent=2,
            )
        draft.replace(path)
