"""`biosegment up`: runs the platform until it is told to stop."""

import shlex
import signal
from pathlib import Path

import typer

from biosegment.cli.output import tell, write_json
from biosegment.cli.session import Session
from biosegment.cli.up.platform import Options, Platform
from biosegment.client.connection import default_home
from biosegment.client.errors import InvalidArgumentError

_LEVELS = ("debug", "info", "warning", "error")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def run(
    session: Session,
    *,
    home: Path | None,
    host: str,
    gateway_port: int,
    import_roots: list[Path] | None,
    export_roots: list[Path] | None,
    log_level: str,
    log_megabytes: float,
    store: str | None,
    take_store: bool,
    store_endpoint: str,
    store_region: str,
) -> None:
    """Starts the platform, says where it is, and returns after SIGINT or SIGTERM.

    Raises:
        DomainError: It could not be started, or a process keeps ending.
    """
    if log_level not in _LEVELS:
        raise InvalidArgumentError(f"--log-level must be one of {', '.join(_LEVELS)}.")
    defaults = Options()
    options = Options(
        home=home or default_home(),
        host=host,
        gateway_port=gateway_port,
        import_roots=import_roots or defaults.import_roots,
        export_roots=export_roots or defaults.export_roots,
        log_level=log_level,
        log_bytes=int(log_megabytes * (1 << 20)),
        store=store,
        take_store=take_store,
        store_endpoint=store_endpoint,
        store_region=store_region,
    )
    if host not in _LOOPBACK:
        tell(f"Others can reach the gateway at {host}. Its traffic, token included, is plain HTTP.")
    tell(f"Starting the platform on {options.home} …")
    platform = Platform(options)
    # SIGINT too: a shell that starts a program in the background has it ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        platform.start(told=lambda line: tell(f"  {line}"))
        try:
            _announce(session, platform)
            platform.wait()
        except KeyboardInterrupt:
            tell("\nStopping …")
        finally:
            # From here on nothing interrupts the orderly stop.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            platform.stop()
    except KeyboardInterrupt:
        tell("\nStopped before it was up.")


def _first_command(connection: Path) -> str:
    """What to type next, in another shell; the default home needs nothing before it."""
    told = "Next, in another shell: "
    if connection != Path(default_home()).absolute() / connection.name:
        told += f"export BIOSEGMENT_CONNECTION={shlex.quote(str(connection))}\n  then: "
    return f"{told}biosegment import IMAGE.tif --dataset NAME --voxel-size Z,Y,X\n"


def _announce(session: Session, platform: Platform) -> None:
    connection, path = platform.connection, platform.connection_path
    if session.as_json:
        write_json(
            {
                "gateway_url": connection.gateway_url,
                "token": connection.token,
                "connection": str(path),
                "store": platform.store,
            }
        )
        return
    typer.echo(
        "BioSegment is up.\n"
        f"  gateway     {connection.gateway_url}\n"
        f"  token       {connection.token}\n"
        f"  connection  {path}\n"
        f"  logs        {platform.home.logs}\n"
        f"  store       {platform.store}\n\n"
        f"{_first_command(path)}"
        "  or in Python: from biosegment.client import Client; client = Client()\n"
        f"Over HTTP: curl -H 'Authorization: Bearer TOKEN' "
        f"{connection.gateway_url}/api/v1/projects\n"
        "Stop it with Ctrl-C."
    )
