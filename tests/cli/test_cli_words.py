"""No message speaks of calls, services or constants: people know the command line's words."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from biosegment.cli.app import app
from biosegment.client.kinds import KINDS
from biosegment.v1 import (
    acquisition_pb2,
    annotations_pb2,
    campaigns_pb2,
    inference_pb2,
    ingest_pb2,
    instances_pb2,
    jobs_pb2,
    registry_pb2,
    storage_pb2,
    training_pb2,
)

ROOT = Path(__file__).parents[2]
_FILES = (
    acquisition_pb2,
    annotations_pb2,
    campaigns_pb2,
    inference_pb2,
    ingest_pb2,
    instances_pb2,
    jobs_pb2,
    registry_pb2,
    storage_pb2,
    training_pb2,
)
_SERVICES = [service for file in _FILES for service in file.DESCRIPTOR.services_by_name.values()]
_MESSAGES = [name for file in _FILES for name in file.DESCRIPTOR.message_types_by_name]
_CALLS = {method.name for service in _SERVICES for method in service.methods}
_INTERNAL = _CALLS | {service.name for service in _SERVICES}
# One word would be read as English: Job, Model, Proposal.
_INTERNAL |= {name for name in _MESSAGES if re.search(r"[a-z][A-Z]", name)}
_CONSTANT = re.compile(r"[A-Z]+_(STATE|KIND|FORMAT|STAGE)_[A-Z_]+")


def sentences(source: str) -> Iterator[tuple[int, str]]:
    """The texts of a source with a space in them, but for those that document it."""
    tree = ast.parse(source)
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) and id(node) not in documents else None
        if isinstance(text, str) and " " in text:
            yield node.lineno, text


def internal(text: str) -> set[str]:
    """The words of a text that only the code knows."""
    return set(re.findall(r"\w+", text)) & _INTERNAL | {
        found.group() for found in _CONSTANT.finditer(text)
    }


@pytest.mark.parametrize("tree", ["services", "gateway", "clients"])
def test_messages_speak_the_words_of_the_command_line(tree: str) -> None:
    files = [path for path in (ROOT / tree).rglob("*.py") if "/v1/" not in path.as_posix()]
    assert len(files) > 5
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {sorted(internal(text))}: {text}"
        for path in files
        for line, text in sentences(path.read_text())
        if internal(text)
    ]
    assert not wrong, "\n".join(wrong)


def test_a_call_in_a_message_would_be_seen() -> None:
    source = '"""StartTraining."""\nx = "StartTraining"\nraise E(f"no {x}; try StartTraining")\n'
    assert [text for _, text in sentences(source)] == ["no ", "; try StartTraining"]
    assert internal("; try StartTraining or JOB_STATE_FAILED") == {
        "StartTraining",
        "JOB_STATE_FAILED",
    }
    assert not internal("The job of the Model failed.")


def commands(text: str) -> list[list[str]]:
    """The commands that a text tells people to run, as words up to the first that varies."""
    told = re.findall(r"(?:`|: |^ *)biosegment ((?:--\w+ \S+ )?[a-z][a-z -]*)", text)
    return [re.sub(r"^--\w+ \S+ ", "", words).split() for words in told]


def exists(words: list[str]) -> bool:
    """Whether the command line has a command that begins so."""
    command: object = get_command(app)
    for word in words:
        known = getattr(command, "commands", None)
        if known is None:
            return True
        if word not in known:
            # The words of `instances SOURCE` are `instances find SOURCE`.
            return word != words[0] and getattr(command, "name", "") == "instances"
        command = known[word]
    return True


def test_every_command_that_a_message_names_is_there() -> None:
    told = {
        f"{path.relative_to(ROOT)}:{line}": words
        for tree in ("services", "gateway", "clients")
        for path in (ROOT / tree).rglob("*.py")
        for line, text in sentences(path.read_text())
        for words in commands(text)
    }
    assert len(told) > 15
    assert not {place: words for place, words in told.items() if not exists(words)}
    named = [kind.list_command for kind in KINDS.values()]
    named += [kind.make_command for kind in KINDS.values() if kind.make_command]
    assert not [
        command for command in named if not exists(re.split(r" [A-Z{-]", command)[0].split())
    ]


def test_a_command_that_is_not_there_would_be_seen() -> None:
    assert commands("Try: biosegment --project x job retry {job}") == [["job", "retry"]]
    assert exists(["job", "retry"])
    assert exists(["instances", "liver"])
    assert not exists(["job", "repeat"])
    assert not exists(["retry"])
