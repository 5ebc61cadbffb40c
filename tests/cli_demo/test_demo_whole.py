"""The demo from beginning to end, small: real processes, a real network, a real report."""

import json
import os
import subprocess
import sys

import pytest
import tifffile


@pytest.mark.slow
def test_the_whole_way(tmp_path):
    out = tmp_path / "demo"
    command = [sys.executable, "-m", "biosegment.cli", "--json", "demo", "--out", str(out)]
    command += ["--phantom-shape", "4,128,160", "--patch", "64", "--rounds", "2"]
    command += ["--initial", "3", "--batch", "2", "--pool", "20"]
    command += ["--initial-steps", "8", "--round-steps", "4"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=170,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made == json.loads((out / "report.json").read_text())
    assert [r["labelled"] for r in made["rounds"]] == [1, 3, 5]
    assert all(0 <= r["iou"] <= 1 for r in made["rounds"])
    assert {"ranking", "annotating", "training", "evaluating"} <= set(made["rounds"][1]["seconds"])
    assert made["segmentation"]["voxels"] == 4 * 128 * 160
    # The blocked segmentation is that of the model which the evaluation measured.
    assert made["segmentation"]["iou"] == pytest.approx(made["rounds"][-1]["iou"], abs=1e-6)
    assert tifffile.imread(made["exports"]["tiff"]).shape == (4, 128, 160)
    assert (out / "segmentation.ome.zarr" / "zarr.json").exists()
    assert "base64" in (out / "report.html").read_text()
    assert not (out / "platform" / "connection.json").exists()
