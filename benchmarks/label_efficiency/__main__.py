"""``python -m benchmarks.label_efficiency``: runs trials and writes what came out.

It can be stopped at any time; the same command goes on where it stopped.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

# First, since it settles how torch's threads wait before torch is loaded.
import biosegment.training.child  # noqa: F401
from benchmarks.label_efficiency import data as sources
from benchmarks.label_efficiency.plan import parse
from benchmarks.label_efficiency.protocol import PROTOCOLS, Protocol
from benchmarks.label_efficiency.report import write
from benchmarks.label_efficiency.store import Curve, Store
from benchmarks.label_efficiency.trial import Trial
from biosegment.client.errors import DomainError
from biosegment.training.child.precision import AUTO, BFLOAT16, FLOAT32, Precision

PRECISIONS = {"auto": AUTO, "float32": FLOAT32, "bfloat16": BFLOAT16}
_RESULTS = Path(__file__).resolve().parents[1] / "results" / "label_efficiency"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench; returns the exit status."""
    asked = _parser().parse_args(arguments)
    try:
        summary = bench(
            asked.data,
            PROTOCOLS[asked.protocol],
            strategies=asked.strategies.split(","),
            seeds=seeds_of(asked.seeds),
            out=asked.out,
            tune=asked.tune,
            threads=asked.threads,
            precision=PRECISIONS[asked.precision],
        )
    except DomainError as error:
        print(error.message, file=sys.stderr)
        return 1
    print(json.dumps(summary))
    return 0


def bench(
    data: str,
    protocol: Protocol,
    *,
    strategies: Sequence[str],
    seeds: Sequence[int],
    out: Path = _RESULTS,
    tune: bool = False,
    threads: int = 0,
    precision: Precision = AUTO,
) -> dict[str, object]:
    """Runs every strategy with every seed, seeds outermost, and writes the report.

    Args:
        data: As for ``data.load``.
        protocol: The experiment's settings.
        strategies: As for ``plan.parse``.
        seeds: Whole numbers from 0.
        out: Folder of all results.
        tune: Evaluate on a part of the training half.
        threads: Of torch; 0 leaves them to torch.
        precision: What training computes with.

    Returns:
        The figures in short, as JSON values.
    """
    import torch

    if threads:
        torch.set_num_threads(threads)
    plans = [parse(text) for text in strategies]
    found = sources.load(data, protocol.binning, tune=tune)
    folder = out / f"{found.name.replace(':', '-')}-{protocol.name}"
    store = Store(folder)
    for seed in seeds:
        for plan in plans:
            Trial(found, protocol, plan, seed, store, precision=precision).run(_tell)
            write(folder, found.name, protocol, store.curves())
    return write(folder, found.name, protocol, store.curves())


def seeds_of(text: str) -> list[int]:
    """Seeds from "0,1,2" or "0-4"."""
    found: list[int] = []
    for part in text.split(","):
        low, _, high = part.partition("-")
        found += range(int(low), int(high or low) + 1)
    return found


def _tell(curve: Curve) -> None:
    done = curve.rounds[-1]
    print(
        f"{curve.strategy} seed {curve.seed}: {done.labelled} labelled, IoU {done.iou:.3f}, "
        f"{done.seconds:.0f} s",
        file=sys.stderr,
        flush=True,
    )


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="label_efficiency", description=__doc__)
    made.add_argument("--data", default="vnc", help="folder[:labels] of DATA_ROOT, or phantom")
    made.add_argument("--strategies", default="random,entropy", help="comma-separated plans")
    made.add_argument("--seeds", default="0", help='such as "0,3" or "0-4"')
    made.add_argument("--protocol", default="reduced", choices=sorted(PROTOCOLS))
    made.add_argument("--out", type=Path, default=_RESULTS, help="folder of all results")
    made.add_argument("--tune", action="store_true", help="leave the test half alone")
    made.add_argument("--threads", type=int, default=0, help="of torch; 0 for torch's choice")
    made.add_argument("--precision", default="auto", choices=PRECISIONS, help="of training")
    return made


if __name__ == "__main__":
    sys.exit(main())
