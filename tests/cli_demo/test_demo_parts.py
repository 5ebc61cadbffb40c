"""The parts of the demo: folder, files, expert, measure, pictures, report."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from biosegment.cli.app import app
from biosegment.cli.demo import figures, files, folder, report, setup, whole
from biosegment.cli.demo.expert import outlines
from biosegment.cli.demo.loop import _Watch, sentence
from biosegment.cli.demo.plan import Plan
from biosegment.cli.up.home import Home
from biosegment.client.errors import (
    DeadlineError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from biosegment.phantom import generate
from biosegment.v1 import campaigns_pb2 as pb


def make_plan(out: Path, **given) -> Plan:
    values = {
        "out": out,
        "image": None,
        "labels": None,
        "voxel_size": None,
        "class_value": None,
        "class_name": "mitochondria & more",
        "phantom_shape": (5, 64, 80),
        "strategy": "entropy",
        "rounds": 3,
        "initial": 4,
        "batch": 2,
        "pool": 20,
        "patch": 32,
        "initial_steps": 2,
        "round_steps": 1,
        "seed": 3,
    }
    return Plan(**{**values, **given})


def test_the_budget_is_what_the_rounds_need(tmp_path):
    assert make_plan(tmp_path).budget == 8


def test_a_folder_of_an_earlier_demo_is_cleaned_and_nothing_else_in_it(tmp_path):
    out = tmp_path / "demo"
    folder.prepare(out)
    (out / "platform").mkdir()
    (out / "report.json").write_text("{}")
    (out / "notes.txt").write_text("mine")
    folder.prepare(out)
    assert not (out / "platform").exists()
    assert not (out / "report.json").exists()
    assert (out / "notes.txt").read_text() == "mine"


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(FailedPreconditionError, match="no demo made"):
        folder.prepare(tmp_path)
    assert (tmp_path / "data").exists()


def test_a_folder_with_a_running_platform_is_refused(tmp_path):
    folder.prepare(tmp_path)
    home = Home(tmp_path / "platform")
    home.lock()
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(FailedPreconditionError, match="already runs"):
        folder.prepare(tmp_path)
    assert (tmp_path / "report.json").exists()
    home.unlock()


def test_a_link_in_the_folder_is_removed_not_followed(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    folder.prepare(tmp_path / "demo")
    (tmp_path / "demo" / "segmentation.tif").symlink_to(elsewhere)
    folder.prepare(tmp_path / "demo")
    assert (elsewhere / "file").exists()


def test_a_file_cannot_be_the_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InvalidArgumentError, match="cannot be the demo's folder"):
        folder.prepare(tmp_path / "file")


def test_the_phantom_is_written_as_tiff_with_its_voxel_size(tmp_path):
    folder.prepare(tmp_path / "demo")
    plan = make_plan(tmp_path / "demo")
    made = files.prepare(plan)
    wanted = generate(plan.phantom_shape, seed=plan.seed)
    assert np.array_equal(tifffile.imread(made.image), wanted.raw)
    assert np.array_equal(tifffile.imread(made.labels), wanted.labels)
    assert made.voxel_size == (40.0, 8.0, 8.0)
    with tifffile.TiffFile(made.image) as tiff:
        assert tiff.imagej_metadata["spacing"] == 0.04


@pytest.mark.parametrize("form", ["pages", "imagej"])
def test_given_labels_are_reduced_to_the_class(tmp_path, form):
    folder.prepare(tmp_path / "demo")
    labels = np.random.default_rng(0).integers(0, 4, (3, 20, 30)).astype(np.uint8)
    tifffile.imwrite(
        tmp_path / "labels.tif", labels, imagej=form == "imagej", photometric="minisblack"
    )
    tifffile.imwrite(tmp_path / "image.tif", labels, photometric="minisblack")
    given = {"image": tmp_path / "image.tif", "labels": tmp_path / "labels.tif"}
    made = files.prepare(make_plan(tmp_path / "demo", class_value=2, **given))
    assert made.image == tmp_path / "image.tif"
    assert np.array_equal(tifffile.imread(made.labels), labels == 2)
    made = files.prepare(make_plan(tmp_path / "demo", **given))
    assert np.array_equal(tifffile.imread(made.labels), labels > 0)


@pytest.mark.parametrize(
    ("labels", "value", "word"),
    [
        (np.zeros((2, 8, 8), np.uint8), None, "--class-value"),
        (np.ones((2, 8, 8), np.uint8), 7, "nothing but 7"),
        (np.ones((2, 8, 8), np.float32), None, "whole numbers"),
        (b"no tiff", None, "cannot be read"),
        (b"", None, "cannot be read"),
    ],
)
def test_labels_that_teach_nothing_are_refused(tmp_path, labels, value, word):
    folder.prepare(tmp_path / "demo")
    path = tmp_path / "labels.tif"
    if isinstance(labels, bytes):
        path.write_bytes(labels)
    else:
        tifffile.imwrite(path, labels)
    plan = make_plan(tmp_path / "demo", image=path, labels=path, class_value=value)
    with pytest.raises(InvalidArgumentError, match=word):
        files.prepare(plan)


def test_missing_files_are_named(tmp_path):
    folder.prepare(tmp_path / "demo")
    plan = make_plan(tmp_path / "demo", image=tmp_path / "gone.tif", labels=tmp_path / "l.tif")
    with pytest.raises(NotFoundError, match=r"gone\.tif"):
        files.prepare(plan)


def test_the_halves_share_nothing_and_leave_nothing_out():
    low, high = setup.halves((4, 33, 20))
    assert low.intersection(high) is None
    assert low.voxels + high.voxels == 4 * 33 * 20
    with pytest.raises(InvalidArgumentError, match="halved"):
        setup.halves((4, 1, 20))


def test_outlines_are_counted_section_by_section():
    mask = np.zeros((2, 10, 10), np.uint8)
    mask[0, 1:3, 1:3] = mask[0, 5:8, 5:8] = mask[1, 1:3, 1:3] = 1
    assert outlines(mask) == 3
    assert outlines(np.zeros((1, 4, 4), np.uint8)) == 0


class _Volumes:
    """Arrays that are read like volumes."""

    def __init__(self, **arrays):
        self.arrays = arrays
        self.largest = 0

    def read(self, name, box):
        self.largest = max(self.largest, box.voxels)
        return self.arrays[name][box.slices]


def test_the_iou_is_that_of_the_held_out_half_read_in_slabs(monkeypatch):
    rng = np.random.default_rng(1)
    truth, guess = (rng.integers(0, 2, (6, 40, 30)).astype(np.uint8) for _ in range(2))
    volumes = _Volumes(truth=truth, guess=guess)
    region, held_out = setup.halves(truth.shape)
    scene = setup.Scene(truth.shape, (40.0, 8.0, 8.0), "truth", region, held_out)
    monkeypatch.setattr(whole, "_SLAB_PIXELS", 240)
    a, b = truth[:, 20:] == 1, guess[:, 20:] == 1
    assert whole.held_out_iou(volumes, scene, "guess") == (a & b).sum() / (a | b).sum()
    assert volumes.largest <= 240
    empty = _Volumes(truth=np.zeros_like(truth), guess=np.zeros_like(truth))
    assert whole.held_out_iou(empty, scene, "guess") == 1.0


def test_the_loop_gives_up_when_nothing_changes_for_long():
    now = [0.0]
    watch = _Watch(lambda: now[0])
    watch.saw(b"a")
    now[0] = 800.0
    watch.saw(b"a")
    watch.check("c")
    watch.saw(b"b")
    now[0] = 1600.0
    watch.check("c")
    now[0] = 1800.0
    with pytest.raises(DeadlineError, match="15 minutes"):
        watch.check("c")


def rounds() -> list[pb.Round]:
    return [
        pb.Round(
            name=f"projects/demo/campaigns/loop/rounds/{n}",
            labelled_patches=4 * n,
            version=f"projects/demo/models/unet/versions/{n}",
            metrics={"iou": 0.25 * n},
            seconds={"ranking": 1.0, "training": 2.5},
        )
        for n in (1, 2)
    ]


def test_a_round_in_a_sentence():
    line = sentence(rounds()[1])
    assert line == "Round 2: 8 patches labelled, IoU 0.500 (ranking 1 s, training 2 s)."
    blind = pb.Round(name="projects/p/campaigns/c/rounds/1")
    assert "no training yet" in sentence(blind)
    assert "not measured" in sentence(pb.Round(name=blind.name, version="versions/1"))


@pytest.fixture
def story(tmp_path):
    region, held_out = setup.halves((5, 64, 80))
    scene = setup.Scene((5, 64, 80), (40.0, 8.0, 8.0), "truth", region, held_out)
    segmented = whole.Segmented("volumes/v", "versions/2", 25_600, 1.5, 0.5)
    exports = {"tiff": "s.tif", "ome-zarr": "s.ome.zarr"}
    return report.Story(make_plan(tmp_path), scene, rounds(), segmented, exports, 60.0)


def test_the_report_has_the_figures_of_every_round(story, tmp_path):
    made = report.values(story)
    report.write_json(tmp_path / "report.json", made)
    read = json.loads((tmp_path / "report.json").read_text())
    assert [r["labelled"] for r in read["rounds"]] == [4, 8]
    assert [r["iou"] for r in read["rounds"]] == [0.25, 0.5]
    assert read["rounds"][0]["seconds"] == {"ranking": 1.0, "training": 2.5}
    assert read["segmentation"]["iou"] == 0.5
    assert {"python", "biosegment", "torch"} <= set(read["versions"])


def test_the_page_needs_nothing_beside_it(story, tmp_path):
    picture = tmp_path / "p.png"
    figures.learning_curve(picture, [4, 8], [0.25, 0.5], "t")
    report.write_html(tmp_path / "report.html", report.values(story), [("A <b>", picture)])
    page = (tmp_path / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert "A &lt;b&gt;" in page
    assert "mitochondria &amp; more" in page
    assert "http" not in page
    assert str(picture) not in page


def test_pictures_are_drawn_with_and_without_a_model(tmp_path):
    part = generate((1, 64, 64), seed=0)
    raw, truth = part.raw[0], part.labels[0]
    entropy = np.full(raw.shape, 0.3, np.float32)
    for name, given in (("with.png", entropy), ("without.png", None)):
        patch = figures.ProposedPatch(raw, truth, given, 0.3)
        figures.proposals(tmp_path / name, [patch, patch], "t")
    figures.section(tmp_path / "section.png", raw, truth > 0, truth == 0, "t")
    figures.learning_curve(tmp_path / "none.png", [], [], "t")
    for name in ("with.png", "without.png", "section.png", "none.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_a_mask_is_painted_where_it_is():
    raw = np.array([[0, 100], [200, 200]], np.uint8)
    made = figures.painted(raw, np.array([[True, False], [False, False]]), (1.0, 0.0, 0.0))
    assert made[0, 0].tolist() == [0.45, 0.0, 0.0]
    assert made[1, 1].tolist() == [1.0, 1.0, 1.0]
    flat = figures.painted(np.full((2, 2), 7, np.uint8), np.zeros((2, 2), bool))
    assert np.isfinite(flat).all()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--image", "a.tif"], "together"),
        (["--patch", "100"], "multiple of 16"),
        (["--phantom-shape", "a"], "not an extent"),
        (["--voxel-size", "a"], "not a voxel size"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_made(arguments, word, tmp_path):
    out = tmp_path / "demo"
    result = CliRunner().invoke(app, ["demo", "--out", str(out), *arguments])
    assert result.exit_code == 2
    assert word in " ".join(result.output.split())
    assert not out.exists()


def test_refusals_are_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "holds files that no demo made" in result.output
