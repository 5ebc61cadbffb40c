"""A short run, so that the harness is kept working; the long one is `make chaos`."""

import json

import pytest

from tests.chaos import backup
from tests.chaos.__main__ import main


@pytest.mark.slow
def test_a_few_faults_are_borne(capsys: pytest.CaptureFixture[str]) -> None:
    only = "kill (ingest|storage|torch|second)|double"
    assert main(["--seed", "3", "--faults", "3", "--only", only]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["faults_total"] == 3
    assert figures["violations"] == []
    assert figures["strokes_acknowledged"] > 0


@pytest.mark.slow
def test_backups_under_load_lack_nothing() -> None:
    report = backup.run(3)
    assert report.violations == []
    assert report.backups == 3
    assert report.acknowledged > 0
