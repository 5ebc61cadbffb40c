"""The page on strategies and the table of strategies say the same."""

import re
from pathlib import Path

from biosegment.acquisition.strategies.table import strategies

PAGE = Path(__file__).parents[2] / "docs" / "strategies.md"


def test_every_strategy_and_parameter_is_on_the_page():
    rows = re.findall(r"^\| `(\w+)` \|.*\|.*\|(.*)\|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert {name for name, _ in rows} == set(strategies())
    for name, parameters in rows:
        known = set(strategies()[name].parameters_type().values()) - {"max_overlap"}
        assert set(re.findall(r"`(\w+)`", parameters)) == known
