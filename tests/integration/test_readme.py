"""The README's 'Use it on your data', word for word, on a phantom, in a folder of its own."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from typer.main import get_command

from biosegment.cli.app import app
from biosegment.cli.patches.folder import Folder
from biosegment.cli.up.platform import Options, Platform
from biosegment.client import Client
from biosegment.phantom import generate
from biosegment.v1 import jobs_pb2

README = (Path(__file__).parents[2] / "README.md").read_text()
_SECTION = README.partition("## Use it on your data")[2].partition("\n## ")[0]
BLOCKS = [block.split("\n") for block in re.findall(r"(?:(?<=\n\n)|^)((?:    .+\n?)+)", _SECTION)]
LINES = [line.strip() for block in BLOCKS for line in block if line.strip()]
PYTHON = _SECTION.partition("```python\n")[2].partition("```")[0]
_BEFORE = ["make setup", "source .venv/bin/activate", "biosegment up"]


def test_every_line_is_a_command_that_is_there() -> None:
    assert [line.partition("  ")[0] for line in LINES[:3]] == _BEFORE
    known = get_command(app)
    for line in LINES[2:]:
        words = line.split()
        assert words[0] == "biosegment"
        command = known.commands[words[1]]  # type: ignore[attr-defined]
        if group := getattr(command, "commands", None):
            # `instances SOURCE` is short for `instances find SOURCE`.
            command = group.get(words[2]) or group["find"]
        told = {name for each in command.params for name in each.opts}
        assert {word for word in words if word.startswith("--")} <= told, line
    compile(PYTHON, "README.md", "exec")


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody who follows the README, in a folder with a stack, beside a running platform."""

    folder: Path
    truth: NDArray[np.uint8]
    client: Client
    environment: dict[str, str]

    def types(self, line: str) -> str:
        """Runs a line in a shell, and gives what it printed."""
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def paints(self) -> None:
        """Fills the masks that are not sent yet with the truth."""
        folder = self.folder / "patches"
        if not (folder / "patches.json").exists():
            return
        for patch in Folder.load(folder).patches.values():
            if not patch.sent:
                mask = tifffile.imread(folder / patch.mask)
                truth = self.truth[patch.box.slices].reshape(mask.shape)
                tifffile.imwrite(folder / patch.mask, truth.astype(mask.dtype))

    def has_a_version(self) -> bool:
        return any(each.version for each in self.client.rounds("c1"))

    def does_not_wait(self) -> None:
        """Lets a training end with what it has learnt: the rest is time."""
        running = self.client.jobs(
            states=[jobs_pb2.JOB_STATE_RUNNING], kinds=[jobs_pb2.JOB_KIND_TRAIN]
        )
        for job in running:
            if job.progress.done:
                self.client.finish(job.name)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    phantom = generate(shape=(12, 512, 512), voxel_size=(50, 8, 8), seed=1)
    folder = tmp_path / "my data"
    folder.mkdir()
    tifffile.imwrite(folder / "stack.tif", phantom.raw)
    home = tmp_path / "home"
    with Platform(Options(home=home, import_roots=[], export_roots=[folder])) as platform:
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "BIOSEGMENT_HOME": str(home),
        }
        environment.pop("BIOSEGMENT_CONNECTION", None)
        with Client(platform.connection) as client:
            yield Reader(folder, phantom.labels, client, environment)


@pytest.mark.slow
def test_the_readme_can_be_lived_through(reader: Reader) -> None:
    again = LINES.index(next(line for line in LINES if "campaign patches" in line))
    after = again + 3
    for line in LINES[3:again]:
        reader.types(line)
    take, send, show = LINES[again:after]
    end = time.monotonic() + 900
    while not reader.has_a_version():
        assert time.monotonic() < end, "no version was made of the answers"
        reader.types(take)
        reader.paints()
        if (reader.folder / "patches").exists():
            reader.types(send)
        assert "annotating" in reader.types(show) or reader.has_a_version()
        reader.does_not_wait()
    for line in LINES[after:]:
        reader.types(line)
    exported = tifffile.imread(reader.folder / "liver-mito.tif")
    assert exported.shape == reader.truth.shape
    assert (reader.folder / "mito.csv").read_text().startswith('"')
    assert (reader.folder / "mito-backup" / "backup.json").exists()
    names: dict[str, Any] = {
        "my_mask": lambda box: reader.truth[box.slices],
        "client": lambda: Client(reader.client.connection),
    }
    exec(PYTHON.replace("Client()", "client()"), names)
    assert names["labels"].shape == (1, 512, 512)
