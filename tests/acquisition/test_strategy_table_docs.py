"""The page on strategies and the table of strategies say the same."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from biosegment.acquisition.strategies.table import strategies

PAGE = Path(__file__).parents[2] / "docs" / "strategies.md"


def test_every_strategy_and_parameter_is_on_the_page():
    rows = re.findall(r"^\| `(\w+)` \|.*\|.*\|(.*)\|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert {name for name, _ in rows} == set(strategies())
    for name, parameters in rows:
        known = set(strategies()[name].parameters_type().values()) - {"max_overlap"}
        assert set(re.findall(r"`(\w+)`", parameters)) == known


def test_the_example_works_as_an_installed_package(tmp_path: Path) -> None:
    text = PAGE.read_text("utf-8")
    code, entry = (text.split(f"```{kind}\n")[1].split("```")[0] for kind in ("python", "toml"))
    (tmp_path / "my_package.py").write_text(code)
    installed = tmp_path / "my_package-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (key, group), *_ = tomllib.loads(entry)["project"]["entry-points"].items()
    lines = [f"{name} = {value}" for name, value in group.items()]
    (installed / "entry_points.txt").write_text("\n".join([f"[{key}]", *lines]))
    use = (
        "from biosegment.acquisition.strategies import base, table\n"
        "from biosegment.client.geometry import Box\n"
        "import numpy as np\n"
        "wanted = table.find('entropy_and_margin')\n"
        "strategy = wanted(base.read_parameters(wanted, {'weight': 2}))\n"
        "boxes = [Box.at((0, 0, 8 * n), (1, 8, 8)) for n in range(3)]\n"
        "given = {'entropy': np.array([0.3, 0.1, 0.2]), 'margin': np.array([0.0, 0.4, 0.1])}\n"
        "candidates = base.Candidates(boxes=boxes, statistics=given)\n"
        "chosen = strategy.select(candidates, 2, np.random.default_rng(0))\n"
        "print([(choice.index, round(choice.score, 6)) for choice in chosen])\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", use],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    # 0.1 + 2 · 0.4 and 0.2 + 2 · 0.1, before 0.3.
    assert answer.stdout.splitlines()[-1] == "[(1, 0.9), (2, 0.4)]"
