"""Files that block: they are refused, or given up, and keep nobody else waiting."""

import asyncio
import os
import socket

import numpy as np
import pytest
import tifffile

from biosegment.client.errors import FailedPreconditionError, InvalidArgumentError
from biosegment.ingest.looks import Looks, Source
from biosegment.ingest.readers.base import Reading
from biosegment.ingest.roots import Roots
from tests.ingest.reading_kit import look
from tests.ingest.test_ingest_jobs import dataset_spec, start

BLOCKING = "tests.ingest.blocking_targets:wait_for_ever"


@pytest.fixture
def pipe(tmp_path):
    path = tmp_path / "pipe.tif"
    os.mkfifo(path)
    return path


def make(kind, path):
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "terminal":
        path.symlink_to("/dev/tty")


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("pipe", "is a named pipe"),
        ("socket", "is a socket"),
        ("device", "is a device"),
        ("terminal", "is a device"),
    ],
)
def test_what_is_no_plain_file_is_refused_at_once(tmp_path, kind, says):
    (tmp_path / "pages").mkdir()
    for path in (tmp_path / "a.tif", tmp_path / "pages" / "s1.tif"):
        make(kind, path)
        with pytest.raises(InvalidArgumentError, match=f"{says}|cannot be opened"):
            look(path)
    with pytest.raises(InvalidArgumentError, match=f"{says}|cannot be opened"):
        look(tmp_path / "pages")


def test_a_pipe_that_takes_the_place_of_a_file_meanwhile_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((5, 6, 7), "u1"))
    stack = look(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InvalidArgumentError, match="is a named pipe"):
        list(stack.pages())


async def test_looks_that_hang_are_given_up_and_others_go_on(tmp_path, pipe):
    good = tmp_path / "good.tif"
    tifffile.imwrite(good, np.zeros((5, 6, 7), "u1"))
    source = Source(Roots([tmp_path], "import"), "projects/p/volumes/v", "", None)
    looks = Looks(at_once=2, stall_seconds=3)
    try:
        hanging = [asyncio.create_task(looks.run(BLOCKING, path=str(pipe))) for _ in range(3)]
        # The loop that serves everybody is never blocked: this look waits its turn, and has it.
        found = await looks.run("scan", path=str(good), source=source, reading=Reading())
        assert found.shape == (5, 6, 7)
        for task in hanging:
            with pytest.raises(FailedPreconditionError, match="did not answer for 3 s"):
                await task
        again = await looks.run("scan", path=str(good), source=source, reading=Reading())
        assert again.shape == (5, 6, 7)
    finally:
        await looks.close()


async def test_a_look_that_nobody_waits_for_any_more_frees_its_place(tmp_path, pipe):
    good = tmp_path / "good.tif"
    tifffile.imwrite(good, np.zeros((5, 6, 7), "u1"))
    source = Source(Roots([tmp_path], "import"), "projects/p/volumes/v", "", None)
    looks = Looks(at_once=1, stall_seconds=600)
    try:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(looks.run(BLOCKING, path=str(pipe)), 3)
        found = await looks.run("scan", path=str(good), source=source, reading=Reading())
        assert found.shape == (5, 6, 7)
    finally:
        await looks.close()


async def test_many_imports_of_pipes_keep_nobody_waiting(platform):
    for n in range(12):
        os.mkfifo(platform.files / f"pipe{n}.tif")
    tifffile.imwrite(platform.files / "good.tif", np.zeros((5, 6, 7), "u1"))

    async def refused(n):
        with pytest.raises(InvalidArgumentError, match="is a named pipe"):
            await start(platform, dataset_spec(platform.files / f"pipe{n}.tif"), f"pipe-{n}")

    await asyncio.gather(*(refused(n) for n in range(12)))
    job = (await start(platform, dataset_spec(platform.files / "good.tif"))).job
    assert (await platform.imports(platform.context(job))).import_result.shape.z == 5
