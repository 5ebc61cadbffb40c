"""The root of the commands: options that may stand anywhere, and every failure as one sentence.

What goes wrong ends in one sentence on stderr and a status: 1 where the platform or a job refused
or failed, 2 where the command was not written as it must be, 130 after Ctrl-C. With --json the
same error is on stdout too, in the shape in which the gateway answers it, so that stdout always
holds one JSON value.
"""

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import typer
import typer.core
from typer.exceptions import TyperException

from biosegment.cli.output import tell, write_json
from biosegment.client import names
from biosegment.client.errors import DomainError, InternalError, InvalidArgumentError
from biosegment.client.plain import problem

_FLAGS = ("--json",)
_WITH_VALUE = ("--project", "--connection")
_EVERYWHERE = "--json, --project and --connection may stand before or after the command."


class Root(typer.core.TyperGroup):
    """The group of all commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads the options of all commands wherever they stand."""
        return super().parse_args(ctx, hoisted(args))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command or group; its help says that there are options of all commands."""
        found = super().get_command(ctx, cmd_name)
        for command in [] if found is None else [found, *getattr(found, "commands", {}).values()]:
            command.epilog = _EVERYWHERE
        return found

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Runs a command line, and exits."""
        given = list(sys.argv[1:] if args is None else args)
        try:
            status = super().main(
                given, prog_name, complete_var, False, windows_expand_args, **extra
            )
        except DomainError as error:
            status = fail(error, as_json=wants_json(given), project=_project(given))
        except TyperException as error:
            status = _misused(error, as_json=wants_json(given))
        except typer.Abort:
            status = 130
        except Exception as error:
            if os.environ.get("BIOSEGMENT_TRACEBACK"):
                raise
            status = fail(
                InternalError(
                    f"unexpected failure ({type(error).__name__}: {error}). "
                    "Set BIOSEGMENT_TRACEBACK=1 to see where."
                ),
                as_json=wants_json(given),
            )
        sys.exit(status if isinstance(status, int) else 0)


def hoisted(args: Sequence[str]) -> list[str]:
    """The arguments with the options that belong to all commands in front.

    What follows a "--" stays where it is.

    Raises:
        typer.BadParameter: An option that needs a value stands last.
    """
    front: list[str] = []
    rest: list[str] = []
    left = iter(args)
    for word in left:
        name, equals, _ = word.partition("=")
        if word == "--":
            rest += [word, *left]
        elif word in _FLAGS or (name in _WITH_VALUE and equals):
            front.append(word)
        elif word in _WITH_VALUE:
            value = next(left, None)
            if value is None:
                raise typer.BadParameter(f"{word} needs a value.")
            front += [word, value]
        else:
            rest.append(word)
    return front + rest


def wants_json(args: Sequence[str]) -> bool:
    """Whether the answer is to be JSON, also where the command could not be read."""
    words = list(args)
    return "--json" in words[: words.index("--") if "--" in words else None]


def fail(error: DomainError, *, as_json: bool, project: str = names.DEFAULT_PROJECT) -> int:
    """Tells of an error, and gives the exit status."""
    tell(f"Error: {names.shortened(error.message, project)}")
    if as_json:
        write_json(problem(error))
    return 1


def _project(args: Sequence[str]) -> str:
    """The project that short names belong to, as far as it can be told without the command."""
    words = hoisted(args)
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == "--project":
            return value if equals else words[place + 1]
    return os.environ.get("BIOSEGMENT_PROJECT", names.DEFAULT_PROJECT)


def _misused(error: TyperException, *, as_json: bool) -> int:
    ctx = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        # The help is the message, and is printed already.
        return error.exit_code
    message = error.format_message().removeprefix("Invalid value: ")
    option = getattr(error, "option_name", None)
    if type(error).__name__ == "NoSuchOption" and ctx is not None:
        there = [
            *_FLAGS,
            *_WITH_VALUE,
            *(name for each in ctx.command.params for name in each.opts),
        ]
        alike = get_close_matches(str(option), there, 2)
        message += f". Did you mean {' or '.join(alike)}?" if alike else "."
    tell(f"Error: {message}")
    if ctx is not None:
        tell(f"Try: {ctx.command_path} --help")
    if as_json:
        write_json(problem(InvalidArgumentError(message)))
    return error.exit_code
