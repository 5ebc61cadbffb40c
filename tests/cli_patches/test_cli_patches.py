"""Patches as files, painted in and sent back: the command line against a real record."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from click.testing import Result as ClickResult
from numpy.typing import NDArray
from structlog.testing import capture_logs
from typer.testing import CliRunner

from biosegment.cli.app import app
from biosegment.client import arrays
from biosegment.client.connection import Connection
from biosegment.client.geometry import Box, shape_proto
from biosegment.client.loop import SHARED
from biosegment.runtime.server import Server
from biosegment.v1 import (
    annotations_pb2,
    campaigns_pb2,
    inference_pb2,
    inference_pb2_grpc,
    storage_pb2,
    storage_pb2_grpc,
    types_pb2,
)
from tests.registry.record_kit import CAMPAIGN, DATASET, PROJECT, SHAPE, Record, open_record

RAW = np.random.default_rng(3).integers(100, 160, SHAPE).astype(np.uint16)
LABELS = np.arange(3 * 32, dtype=np.uint8).reshape(1, 3, 32) % 3
DONE = campaigns_pb2.PROPOSAL_STATE_DONE


class Storage(storage_pb2_grpc.StorageServiceServicer):
    """A raw volume "d", and labels "truth"."""

    async def GetVolume(self, request: Any, context: Any) -> Any:
        labels = request.name.endswith("truth")
        kinds = storage_pb2.VOLUME_KIND_LABELS, storage_pb2.VOLUME_KIND_IMAGE
        volume = storage_pb2.Volume(
            name=request.name,
            kind=kinds[0] if labels else kinds[1],
            state=storage_pb2.VOLUME_STATE_READY,
            data_type=types_pb2.DATA_TYPE_UINT8 if labels else types_pb2.DATA_TYPE_UINT16,
            levels=[storage_pb2.VolumeLevel(shape=shape_proto(SHAPE))],
        )
        return storage_pb2.GetVolumeResponse(volume=volume)

    async def ReadRegion(self, request: Any, context: Any) -> AsyncIterator[Any]:
        box = Box.from_proto(request.box).within(SHAPE, request.name)
        array = LABELS if request.name.endswith("truth") else RAW
        for chunk in arrays.encode(array[box.slices], box):
            yield storage_pb2.ReadRegionResponse(chunk=chunk)


class Inference(inference_pb2_grpc.InferenceServiceServicer):
    """Finds class 1 everywhere."""

    async def PredictRegion(self, request: Any, context: Any) -> AsyncIterator[Any]:
        box = Box.from_proto(request.box)
        for chunk in arrays.encode(np.ones(box.shape, np.uint8), box):
            yield inference_pb2.PredictRegionResponse(chunk=chunk)


@dataclass(frozen=True, slots=True)
class Place:
    """A platform with a campaign of four proposals, and a folder to work in."""

    record: Record
    folder: Path
    run: Callable[..., ClickResult]

    def fetch(self, *more: str) -> ClickResult:
        words = ["campaign", "patches", "c", "--out", str(self.folder), "--claimant", "ann"]
        answer = self.run(*words, *more)
        assert answer.exit_code == 0, answer.output
        return answer

    def send(self, *more: str, fails: bool = False) -> dict[str, str]:
        """What became of each patch, by its number; what went wrong in words."""
        answer = self.run("--json", "annotate", "commit", str(self.folder), *more)
        assert answer.exit_code == int(fails), answer.output
        rows = json.loads(answer.stdout)
        return {row["mask"].partition("-")[0]: f"{row['result']}: {row['message']}" for row in rows}

    def mask(self, number: int) -> Path:
        return self.folder / f"{number}-mask.tif"

    def paint(self, number: int, value: int = 1, dtype: str = "u1") -> NDArray[Any]:
        painted = np.zeros((8, 8), dtype)
        painted[2:5, number] = value
        tifffile.imwrite(self.mask(number), painted)
        return painted

    def log(self) -> list[annotations_pb2.Annotation]:
        return SHARED.run(self.record.log())

    def states(self) -> list[int]:
        return [found.state for found in SHARED.run(self.record.proposals())]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    stack = AsyncExitStack()

    async def begin() -> Record:
        server = Server("127.0.0.1:0", "token")
        for register, servicer, name in (
            (storage_pb2_grpc.add_StorageServiceServicer_to_server, Storage(), "Storage"),
            (inference_pb2_grpc.add_InferenceServiceServicer_to_server, Inference(), "Inference"),
        ):
            server.add(register, servicer, f"biosegment.v1.{name}Service")
        await server.start()
        stack.push_async_callback(server.stop, 0)
        record = await stack.enter_async_context(open_record(tmp_path))
        await record.seed()
        await record.start_campaign()
        await record.open_round(1)
        await record.propose(1)
        other = f"127.0.0.1:{server.port}"
        addresses = {**record.connection.addresses, "storage": other, "inference": other}
        Connection(token="token", addresses=addresses).save(tmp_path / "connection.json")
        return record

    runner = CliRunner()

    def run(*words: str) -> Any:
        place = ["--connection", str(tmp_path / "connection.json"), "--project", "p"]
        return runner.invoke(app, [*place, *words])

    with capture_logs():
        record = SHARED.run(begin())
        yield Place(record, tmp_path / "patches", run)
        SHARED.run(stack.aclose())


def test_patches_become_pictures_and_masks(place: Place) -> None:
    answer = place.fetch("--count", "2")
    assert "biosegment annotate commit" in answer.output
    names = {path.name for path in place.folder.iterdir()}
    kinds = ("image", "around", "mask")
    files = {f"{number}-{kind}.tif" for number in (1, 2) for kind in kinds}
    assert names == {"README.txt", "patches.json", *files}
    image = tifffile.imread(place.folder / "2-image.tif")
    around = tifffile.imread(place.folder / "2-around.tif")
    assert (image.dtype, image.shape, around.shape) == (np.uint8, (8, 8), (12, 16))
    # The contrast goes from black to white, whatever the grey values are stored as.
    assert image.max() - image.min() > 200
    inside = Box((0, 0, 4), (1, 8, 12)).slices[1:]
    np.testing.assert_array_equal(around[inside], image)
    assert (around[8, 4:12] == 255).all(), "a frame lies around the patch"
    with tifffile.TiffFile(place.mask(2)) as tiff:
        assert tiff.pages[0].photometric == tifffile.PHOTOMETRIC.PALETTE
        mask = tiff.asarray()
        colour = tiff.pages[0].colormap[:, 1] >> 8
    assert (mask.dtype, mask.shape, set(mask.flat)) == (np.uint8, (8, 8), {255})
    readme = (place.folder / "README.txt").read_text()
    assert all(words in readme for words in ("1-mask.tif", "background", "--map 255=1"))
    assert f"#{bytes(colour.tolist()).hex()}" in readme
    assert [found.claimant for found in SHARED.run(place.record.proposals())][:2] == ["ann"] * 2


def test_what_is_not_painted_in_is_not_sent(place: Place) -> None:
    place.fetch()
    assert set(place.send().values()) == {"skipped: not painted in"}
    assert place.log() == []


def test_what_is_painted_is_sent_once(place: Place) -> None:
    place.fetch()
    painted = {number: place.paint(number) for number in (1, 3)}
    first = place.send()
    assert first["1"] == first["3"] == "sent: 64 of 64 voxels labelled"
    assert first["2"] == first["4"] == "skipped: not painted in"
    assert place.send()["1"] == "skipped: was sent already"
    commits = place.log()
    assert [commit.proposal.rpartition("/")[2] for commit in commits] == ["1", "3"]
    for commit, number in zip(commits, painted, strict=True):
        sent = arrays.unpack_mask(commit.mask, commit.compression, (1, 8, 8))
        np.testing.assert_array_equal(sent[0], painted[number])
        assert Box.from_proto(commit.box) == Box.at((0, 0, 8 * (number - 1)), (1, 8, 8))
    assert [state == DONE for state in place.states()] == [True, False, True, False]


def test_what_changes_after_it_was_sent_is_told_and_can_be_sent_as_a_box(place: Place) -> None:
    place.fetch()
    place.paint(1)
    place.send()
    place.paint(1, value=2)
    told = place.send()["1"]
    assert "changed since" in told
    words = told.partition("biosegment ")[2].split()
    answer = place.run(*words)
    assert answer.exit_code == 0, answer.output
    assert len(place.log()) == 2
    assert 2 in place.log()[1].classes


def test_a_call_that_was_cut_off_before_it_noted_what_it_sent_sends_nothing_twice(
    place: Place,
) -> None:
    place.fetch()
    place.paint(1)
    note = (place.folder / "patches.json").read_text()
    place.send()
    (place.folder / "patches.json").write_text(note)
    assert place.send()["1"] == "skipped: was answered already"
    assert len(place.log()) == 1


def test_one_bad_mask_does_not_keep_the_others_back(place: Place) -> None:
    place.fetch()
    place.paint(1, value=255)
    place.paint(2)
    tifffile.imwrite(place.mask(3), np.zeros((9, 8), np.uint8))
    place.mask(4).unlink()
    outcomes = place.send(fails=True)
    assert outcomes["1"].startswith("failed: ")
    assert "--map 255=1" in outcomes["1"]
    assert outcomes["2"].startswith("sent")
    assert "does not fill the box" in outcomes["3"]
    assert "There is no file" in outcomes["4"]
    place.mask(3).unlink()
    assert place.send("--map", "255=1", fails=True)["1"].startswith("sent")
    assert sorted(place.log()[1].classes) == [0, 1]


@pytest.mark.parametrize("dtype", ["u2", "i4", "f4", "?"])
def test_masks_come_back_in_whatever_type_a_program_saves(place: Place, dtype: str) -> None:
    place.fetch("--count", "1")
    place.paint(1, dtype=dtype)
    assert place.send()["1"].startswith("sent")


def test_a_program_that_saves_the_mask_in_another_type_has_not_painted(place: Place) -> None:
    place.fetch("--count", "1")
    tifffile.imwrite(place.mask(1), tifffile.imread(place.mask(1)).astype("u2"))
    assert place.send()["1"] == "skipped: not painted in"


def test_drafts_are_predictions_and_sent_untouched_only_if_asked(place: Place) -> None:
    words = ["campaign", "patches", "c", "--out", str(place.folder), "--draft"]
    refused = place.run(*words)
    assert (refused.exit_code, "no version yet" in refused.stderr) == (1, True)
    assert not place.folder.exists()
    SHARED.run(place.record.train())
    place.fetch("--draft", "--count", "2")
    assert (tifffile.imread(place.mask(1)) == 1).all()
    place.paint(2)
    outcomes = place.send()
    assert outcomes["1"].startswith("skipped: a draft that nobody changed; --drafts")
    assert outcomes["2"].startswith("sent")
    assert place.send("--drafts")["1"].startswith("sent")
    assert len(place.log()) == 2


def test_a_second_fetch_adds_what_is_new_and_leaves_what_is_painted(place: Place) -> None:
    place.fetch("--count", "1")
    painted = place.paint(1)
    place.fetch("--count", "3")
    np.testing.assert_array_equal(tifffile.imread(place.mask(1)), painted)
    assert place.mask(3).exists()
    assert not place.mask(4).exists()
    assert "are in" in place.fetch("--count", "3").stderr


def test_folders_that_hold_something_else_are_left_alone(place: Place) -> None:
    place.folder.mkdir()
    (place.folder / "thesis.txt").write_text("x")
    words = ["campaign", "patches", "c", "--out"]
    answer = place.run(*words, str(place.folder))
    assert (answer.exit_code, "holds no patches" in answer.stderr) == (1, True)
    answer = place.run(*words, str(place.folder / "deep" / "er"))
    assert (answer.exit_code, "no folder" in answer.stderr) == (1, True)
    answer = place.run(*words, str(place.folder / "thesis.txt"))
    assert answer.exit_code == 1
    answer = place.run("annotate", "commit", str(place.folder))
    assert (answer.exit_code, "campaign patches" in answer.stderr) == (1, True)
    assert {found.claimant for found in SHARED.run(place.record.proposals())} == {""}
    (place.folder / "thesis.txt").unlink()
    place.fetch("--count", "1")
    note = place.folder / "patches.json"
    note.write_text(note.read_text().replace(CAMPAIGN, f"{CAMPAIGN}2"))
    answer = place.run(*words, str(place.folder))
    assert (answer.exit_code, "patches of" in answer.stderr) == (1, True)
    note.write_text("{")
    answer = place.run("annotate", "commit", str(place.folder))
    assert (answer.exit_code, "damaged" in answer.stderr) == (1, True)


def test_a_patch_that_somebody_else_holds_by_now_is_told(place: Place) -> None:
    place.fetch("--count", "1")
    place.paint(1)
    SHARED.run(place.record.lapse_claims())
    SHARED.run(place.record.claim("ben"))
    assert "is claimed by ben" in place.send(fails=True)["1"]
    assert place.log() == []


def test_an_answer_that_was_undone_can_be_sent_again(place: Place) -> None:
    place.fetch("--count", "1")
    place.paint(1)
    place.send()
    assert place.run("annotate", "undo", "d/1").exit_code == 0
    assert place.send()["1"].startswith("sent")
    assert len(place.log()) == 3


def test_proposals_are_passed_over_or_given_back(place: Place) -> None:
    place.fetch("--count", "2")
    for verb, number in (("skip", 1), ("release", 2)):
        answer = place.run("campaign", verb, f"c/{number}", "--claimant", "ann")
        assert answer.exit_code == 0, answer.output
    place.paint(1)
    assert place.send()["1"] == "skipped: was passed over"
    states = place.states()
    assert states[:2] == [
        campaigns_pb2.PROPOSAL_STATE_SKIPPED,
        campaigns_pb2.PROPOSAL_STATE_OPEN,
    ]
    answer = place.run("campaign", "skip", "c/2", "--claimant", "ann")
    assert answer.exit_code == 0, "one that nobody holds may be passed over"


@pytest.mark.parametrize(
    "words",
    [
        ["annotate", "commit", "folder", "--box", "0:1,0:1,0:1"],
        ["annotate", "commit", "folder", "--proposal", "c/1"],
        ["annotate", "commit", "folder", "--seconds", "3"],
        ["annotate", "commit", "d", "m.tif", "--box", "0:1,0:1,0:1", "--drafts"],
        ["volume", "read", "d", "--box", "0:2,0:4,0:4", "--out", "x.png"],
    ],
)
def test_options_that_do_not_go_together_are_refused(place: Place, words: list[str]) -> None:
    assert place.run(*words).exit_code == 2


def test_a_box_of_a_volume_goes_into_a_file(place: Place, tmp_path: Path) -> None:
    box = ["--box", "1:2,0:3,0:32"]
    for name in ("x.tif", "x.npy"):
        out = tmp_path / name
        answer = place.run("volume", "read", "d", *box, "--out", str(out))
        assert answer.exit_code == 0, answer.output
        found = np.load(out) if name.endswith("npy") else tifffile.imread(out)
        np.testing.assert_array_equal(found.reshape(1, 3, 32), RAW[1:2, :3])
    again = place.run("volume", "read", "d", *box, "--out", str(tmp_path / "x.tif"))
    assert (again.exit_code, "exists" in again.stderr) == (1, True)
    outside = place.run(
        "volume", "read", "d", "--box", "0:9,0:3,0:3", "--out", str(tmp_path / "o.tif")
    )
    assert outside.exit_code == 1
    assert not (tmp_path / "o.tif").exists()


def test_pictures_show_greys_stretched_and_classes_in_their_colours(
    place: Place, tmp_path: Path
) -> None:
    image = pytest.importorskip("PIL.Image")
    box = ["--box", "0:1,0:3,0:32"]
    place.run("class", "set", "1", "--color", "#102030")
    for name in ("d", "truth"):
        answer = place.run("volume", "read", name, *box, "--out", str(tmp_path / f"{name}.png"))
        assert answer.exit_code == 0, answer.output
    grey = np.asarray(image.open(tmp_path / "d.png"))
    assert (grey.shape, int(grey.min()), int(grey.max())) == ((3, 32), 0, 255)
    colours = np.asarray(image.open(tmp_path / "truth.png"))
    assert colours.shape == (3, 32, 3)
    assert (colours[LABELS[0] == 1] == (0x10, 0x20, 0x30)).all()
    assert (colours[LABELS[0] == 0] == 0).all()


def test_the_data_set_of_the_folder_is_that_of_its_campaign(place: Place) -> None:
    place.fetch("--count", "1")
    told = json.loads((place.folder / "patches.json").read_text())
    assert (told["campaign"], told["dataset"]) == (CAMPAIGN, DATASET)
    assert told["dataset"].startswith(PROJECT)
