"""One strategy with one seed, round by round."""

import time
from collections.abc import Callable
from dataclasses import asdict

from benchmarks.label_efficiency.data import Data
from benchmarks.label_efficiency.learner import Learner, with_notes
from benchmarks.label_efficiency.plan import ALL, Plan
from benchmarks.label_efficiency.protocol import Protocol
from benchmarks.label_efficiency.store import Curve, Round, Store, rounds_of
from biosegment.acquisition.candidates import draw_pool, generator
from biosegment.acquisition.strategies.base import Candidates, Parameters, Strategy
from biosegment.acquisition.strategies.random import Random
from biosegment.client.errors import FailedPreconditionError
from biosegment.client.geometry import Box
from biosegment.nets.weights import Weights
from biosegment.training.child.precision import AUTO, Precision

_POOL, _SELECT, _DROPOUT = 1, 2, 3
_ROUNDS = "rounds"


class Trial:
    """A learning curve in the making.

    What it has done is kept after each round. The pool, the first weights and, unless plans say
    otherwise, the first batch depend on the seed alone, so that strategies are compared in pairs;
    what several trials begin with is made once.
    """

    def __init__(
        self,
        data: Data,
        protocol: Protocol,
        plan: Plan,
        seed: int,
        store: Store,
        *,
        precision: Precision = AUTO,
    ) -> None:
        self._learner = Learner(data, protocol, precision=precision)
        self._protocol = protocol
        self._plan = plan
        self._seed = seed
        self._store = store
        self._pool = draw_pool(
            Box.of_shape(data.train.shape),
            protocol.shape,
            protocol.pool,
            generator(seed, 0, _POOL),
        )
        self._dropout = 0.0 if plan.strategy == ALL else self._dropout_of(self._strategy())

    def run(self, told: Callable[[Curve], None]) -> Curve:
        """Goes on until the curve is complete.

        Args:
            told: Called after each round that was not there already.

        Raises:
            FailedPreconditionError: The training part has too little room for the patches.
        """
        curve = self._store.curve(self._plan.text, self._seed)
        if curve is not None and len(curve.rounds) == self._rounds:
            return curve
        weights = self._store.weights(self._key)
        rounds = rounds_of(weights.notes[_ROUNDS]) if weights else ()
        while len(rounds) < self._rounds:
            weights, newest = self._round(weights, rounds)
            rounds = (*rounds, newest)
            self._keep(weights, len(rounds) - 1)
            notes = [asdict(done) for done in rounds]
            self._store.write_weights(self._key, with_notes(weights, **{_ROUNDS: notes}))
            curve = Curve(self._plan.text, self._seed, rounds)
            self._store.write_curve(curve)
            told(curve)
        self._store.drop_weights(self._key)
        for number in range(self._rounds):
            self._store.drop_weights(f"{self._key}-round{number}")
        return Curve(self._plan.text, self._seed, rounds)

    @property
    def _rounds(self) -> int:
        return 1 if self._plan.strategy == ALL else self._protocol.rounds

    @property
    def _key(self) -> str:
        return f"trial-{self._plan.text}-seed{self._seed}"

    def _round(self, weights: Weights | None, rounds: tuple[Round, ...]) -> tuple[Weights, Round]:
        if weights is None and self._plan.strategy != ALL:
            return self._shared_first()
        started = time.monotonic()
        number = len(rounds)
        if weights is None:
            chosen = list(range(len(self._pool)))
            weights = self._start()
            steps, rate = self._protocol.all_steps, self._protocol.first_rate
        else:
            known = [index for done in rounds for index in done.chosen]
            wanted = self._protocol.labelled(number) - len(known)
            chosen = [*known, *self._choose(weights, self._strategy(), known, wanted, number)]
            steps, rate = self._protocol.steps(number), self._protocol.round_rate
        newest = self._train(weights, chosen, number, steps, rate, started)
        return weights, newest

    def _shared_first(self) -> tuple[Weights, Round]:
        """The first round, which is the same for all plans that begin alike."""
        key = f"first-{'-'.join(self._plan.first)}-{self._origin}"
        weights = self._store.weights(key)
        if weights is None:
            weights = self._start()
            # Pretraining is not counted: a seed pays for it once, whatever the strategies.
            started = time.monotonic()
            chosen = self._choose_first(weights)
            steps, rate = self._protocol.steps(0), self._protocol.first_rate
            first = self._train(weights, chosen, 0, steps, rate, started)
            self._store.write_weights(key, with_notes(weights, **{_ROUNDS: [asdict(first)]}))
            return weights, first
        return weights, rounds_of(weights.notes[_ROUNDS])[0]

    def _start(self) -> Weights:
        """The weights before any label."""
        if self._plan.start is None:
            return self._learner.fresh(self._seed, dropout=self._dropout)
        weights = self._store.weights(self._origin)
        if weights is None:
            weights = self._learner.pretrained(
                self._seed, self._pool, self._plan.start, dropout=self._dropout
            )
            self._store.write_weights(self._origin, weights)
        return weights

    @property
    def _origin(self) -> str:
        """What the weights before any label depend on."""
        start = "fresh"
        if self._plan.start is not None:
            given = self._plan.start
            start = f"pretrained{given.steps or self._protocol.pretrain_steps}"
            start += f"-minutes{given.minutes:g}" if given.minutes else ""
            start += f"-cut{given.cut}" if given.cut else ""
        return f"{start}-dropout{self._dropout:g}-seed{self._seed}"

    def _train(
        self,
        weights: Weights,
        chosen: list[int],
        number: int,
        steps: int,
        rate: float,
        started: float,
    ) -> Round:
        labelled = [self._pool[index] for index in chosen]
        if number == 0 and self._plan.start is None:
            self._learner.set_statistics(weights, labelled)
        seed = self._seed * 1000 + number + 1
        self._learner.train(weights, labelled, steps=steps, rate=rate, seed=seed)
        seconds = time.monotonic() - started
        before = self._protocol.labelled(number - 1) if number else 0
        return Round(len(chosen), self._learner.iou(weights), seconds, tuple(chosen[before:]))

    def _choose_first(self, weights: Weights) -> list[int]:
        """The first batch: of each of its strategies an equal share, later ones knowing earlier.

        Before one that reads scores, the network is trained on what is chosen already, in place.
        """
        strategies = self._plan.make_first(self._protocol.max_overlap)
        chosen: list[int] = []
        for number, strategy in enumerate(strategies, start=1):
            wanted = self._protocol.initial * number // len(strategies) - len(chosen)
            if chosen and strategy.statistics:
                self._learner.train(
                    weights,
                    [self._pool[index] for index in chosen],
                    steps=self._protocol.first_effort.steps(len(chosen), self._protocol.batch_size),
                    rate=self._protocol.first_rate,
                    seed=self._seed * 1000,
                )
            chosen += self._choose(weights, strategy, chosen, wanted, 0)
        return chosen

    def _choose(
        self, weights: Weights, strategy: Strategy, known: list[int], wanted: int, number: int
    ) -> list[int]:
        earlier = self._earlier(strategy, number)
        if strategy.ensemble_versions > 1 and not earlier:
            # As on the platform: one version cannot disagree with itself.
            strategy = Random(Parameters(max_overlap=strategy.parameters.max_overlap))
        free = sorted(set(range(len(self._pool))) - set(known))
        bare = Candidates(
            boxes=[self._pool[index] for index in free],
            labelled=[self._pool[index] for index in known],
            progress=max(0, number - 1) / max(1, self._protocol.rounds - 2),
        )
        seed = int(generator(self._seed, number, _DROPOUT).integers(1 << 62))
        candidates = self._learner.candidates(weights, strategy, bare, earlier=earlier, seed=seed)
        choices = strategy.select(candidates, wanted, generator(self._seed, number, _SELECT))
        if len(choices) < wanted:
            raise FailedPreconditionError(
                f"{self._plan.text}, seed {self._seed}: round {number + 1} found {len(choices)} of "
                f"{wanted} patches that overlap the others by at most "
                f"{strategy.parameters.max_overlap:g}; take a smaller budget or more data."
            )
        return [free[choice.index] for choice in choices]

    def _earlier(self, strategy: Strategy, number: int) -> list[Weights]:
        """The networks before the newest that a strategy compares with it, newest first."""
        rounds = range(number - 2, max(-1, number - 1 - strategy.ensemble_versions), -1)
        found = [self._store.weights(f"{self._key}-round{index}") for index in rounds]
        return [weights for weights in found if weights]

    def _keep(self, weights: Weights, number: int) -> None:
        """Keeps a round's network as long as the strategy compares with it."""
        strategy = self._strategy() if self._plan.strategy != ALL else None
        if strategy and strategy.ensemble_versions > 1:
            self._store.write_weights(f"{self._key}-round{number}", weights)
            self._store.drop_weights(f"{self._key}-round{number - strategy.ensemble_versions}")

    def _strategy(self) -> Strategy:
        """That of all batches but the first."""
        return self._plan.make(self._protocol.max_overlap)

    def _dropout_of(self, strategy: Strategy) -> float:
        # Strategies that compare forwards with dropout need a network that has some.
        return self._protocol.dropout if strategy.dropout_passes else 0.0
