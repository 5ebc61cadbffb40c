"""The one table of strategies: the built-in ones, and those that other packages bring.

A package brings one with an entry point of the group "biosegment.strategies"
whose object is a subclass of ``Strategy``.
"""

from functools import cache
from importlib.metadata import entry_points

from biosegment.acquisition.strategies.base import Strategy
from biosegment.acquisition.strategies.core_set import CoreSet
from biosegment.acquisition.strategies.dropout import Bald, MutualInformation
from biosegment.acquisition.strategies.ensemble import Ensemble
from biosegment.acquisition.strategies.entropy import Entropy
from biosegment.acquisition.strategies.foreground_random import ForegroundRandom
from biosegment.acquisition.strategies.hybrid import Hybrid
from biosegment.acquisition.strategies.k_means import KMeans
from biosegment.acquisition.strategies.least_confidence import LeastConfidence
from biosegment.acquisition.strategies.margin import Margin
from biosegment.acquisition.strategies.power_entropy import PowerEntropy
from biosegment.acquisition.strategies.random import Random
from biosegment.acquisition.strategies.strided import Strided
from biosegment.acquisition.strategies.typicality import Typicality
from biosegment.client.errors import InvalidArgumentError
from biosegment.runtime import log

GROUP = "biosegment.strategies"
_BUILT_IN: tuple[type[Strategy], ...] = (
    Random,
    ForegroundRandom,
    Strided,
    Entropy,
    LeastConfidence,
    Margin,
    Bald,
    MutualInformation,
    Ensemble,
    KMeans,
    CoreSet,
    Typicality,
    PowerEntropy,
    Hybrid,
)
_log = log.get(__name__)


@cache
def strategies() -> dict[str, type[Strategy]]:
    """Every strategy by its name; a broken one of another package is left out, with a log line."""
    found = {strategy.name: strategy for strategy in _BUILT_IN}
    for point in entry_points(group=GROUP):
        try:
            loaded = point.load()
        except Exception as error:  # noqa: BLE001 - other people's code must not stop ours
            _log.warning("strategy.left_out", entry_point=point.value, error=str(error))
            continue
        if not (isinstance(loaded, type) and issubclass(loaded, Strategy)):
            _log.warning("strategy.left_out", entry_point=point.value, error="not a Strategy")
        elif loaded.name in found:
            _log.warning("strategy.left_out", entry_point=point.value, error="name taken")
        else:
            found[loaded.name] = loaded
    return found


def find(name: str) -> type[Strategy]:
    """The strategy of a name.

    Raises:
        InvalidArgumentError: There is none.
    """
    found = strategies().get(name)
    if found is None:
        raise InvalidArgumentError(
            f'There is no strategy "{name[:80]}"; there are {", ".join(sorted(strategies()))}.',
            field="strategy.name",
        )
    return found
