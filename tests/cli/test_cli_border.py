"""The command line with numbers out of range, and with texts that would control the terminal."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from biosegment.cli import output
from biosegment.cli.session import Session
from biosegment.client.terminal import CONTROL
from biosegment.v1 import campaigns_pb2, registry_pb2

Run = Callable[..., Any]

EVIL = 'eve\n{"event":"fake"}\x1b[31m\x9b2J\u202e'


def session(*, as_json: bool) -> Session:
    return Session(connection_path=None, project="default", as_json=as_json)


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (
            ["campaign", "start", "c", "--dataset", "liver", "--model", "m", "--initial"],
            "--initial",
        ),
        (["campaign", "start", "c", "--dataset", "liver", "--model", "m", "--seed"], "--seed"),
        (["train", "m", "liver", "--steps"], "--steps"),
        (["train", "m", "liver", "--batch-size"], "--batch-size"),
    ],
)
def test_a_number_out_of_range_is_named_by_its_option(
    run: Run, arguments: list[str], option: str
) -> None:
    answer = run(*arguments, "99999999999999999999")
    assert answer.exit_code in (1, 2)
    assert option in answer.stderr
    assert "99999999999999999999" in answer.stderr
    assert "Error" not in answer.stderr.replace("Error:", "").replace("ValueError", "Error")


def test_a_time_out_of_range_is_named_by_its_option(run: Run, tmp_path: Path) -> None:
    import numpy as np
    import tifffile

    tifffile.imwrite(tmp_path / "m.tif", np.ones((1, 6, 8), np.uint8))
    mask = str(tmp_path / "m.tif")
    box = ["--box", "0:1,0:6,0:8"]
    for seconds in ("1e300", "nan", "inf"):
        answer = run("annotate", "commit", "liver", mask, *box, "--seconds", seconds)
        assert answer.exit_code in (1, 2)
        assert "--seconds" in answer.stderr
        assert "OverflowError" not in answer.stderr


@pytest.mark.parametrize("as_json", [False, True])
def test_what_others_wrote_does_not_control_the_terminal(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    proposal = campaigns_pb2.Proposal(name="c/1", claimant=EVIL)
    dataset = registry_pb2.Dataset(name="d", metadata={EVIL: EVIL})
    output.show(session(as_json=as_json), proposal)
    output.show(session(as_json=as_json), dataset)
    output.show_all(session(as_json=as_json), [proposal], ["name", "claimant"])
    output.show_all(session(as_json=as_json), [dataset], ["name", "metadata"])
    output.tell(EVIL)
    written = capsys.readouterr()
    for text in (written.out, written.err):
        assert CONTROL.search(text.replace("\n", "")) is None
    assert not [line for line in written.out.splitlines() if line.startswith('{"event')]


def test_json_keeps_what_was_written(capsys: pytest.CaptureFixture[str]) -> None:
    value: dict[str, Any] = {"claimant": EVIL, "größe": "µ"}
    output.write_json(value)
    text = capsys.readouterr().out
    assert json.loads(text) == value
    assert "größe" in text
