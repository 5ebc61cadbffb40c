"""Help answers without importing what only commands need, and covers every command."""

import subprocess
import sys

import pytest

_HEAVY = {
    "grpc",
    "numpy",
    "torch",
    "pytorch_lightning",
    "sqlalchemy",
    "aiosqlite",
    "google.protobuf",
    "nats",
    "tensorstore",
    "fastapi",
    "biosegment.runtime",
    "biosegment.v1",
}


def biosegment(*arguments: str) -> "subprocess.CompletedProcess[str]":
    code = (
        "import sys\nfrom biosegment.cli.__main__ import main\n"
        "try:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stderr)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    "command",
    [[], ["up"], ["campaign", "start"], ["job"], ["annotate"], ["train"], ["search", "start"]],
)
def test_help_imports_nothing_heavy(command: list[str]) -> None:
    answer = biosegment(*command, "--help")
    assert answer.returncode == 0
    assert "Usage: biosegment" in answer.stdout
    assert not set(answer.stderr.split()) & _HEAVY


def test_the_version_is_that_of_the_package() -> None:
    from importlib.metadata import version

    answer = biosegment("--version")
    assert answer.stdout.strip() == version("biosegment")


def test_what_nobody_foresaw_ends_in_a_sentence_too() -> None:
    code = (
        "import biosegment.cli.commands.job as job\n"
        "def broken(ctx):\n    raise ZeroDivisionError('oh')\n"
        "job.session_of = broken\n"
        "from biosegment.cli.__main__ import main\nmain()\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, "job", "list"], capture_output=True, text=True, timeout=60
    )
    assert answer.returncode == 1
    assert answer.stderr.startswith("Error: unexpected failure (ZeroDivisionError: oh).")
    assert "Traceback" not in answer.stderr
