"""What a training step costs beside the network's own forward, backward and optimiser step.

``python -m benchmarks.training_step`` prints one JSON object. CPU seconds of one thread, so that
what else runs on the machine counts little; rounds of both take turns, and medians are compared.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from statistics import median

# First, since it settles how torch's threads wait before torch is loaded.
import biosegment.training.child  # noqa: F401
from biosegment.client.geometry import Box
from biosegment.phantom import Generator

_STEPS = 20


def main() -> int:
    """Measures, prints, and returns the exit status."""
    made = argparse.ArgumentParser(prog="training_step", description=__doc__)
    made.add_argument("--patch", type=int, default=64)
    made.add_argument("--feature-maps", type=int, default=12)
    made.add_argument("--batch-size", type=int, default=10)
    made.add_argument("--rounds", type=int, default=5)
    asked = made.parse_args()
    whole, bare = measure(asked.patch, asked.feature_maps, asked.batch_size, asked.rounds)
    figures = {
        "fit_ms": round(1e3 * whole, 2),
        "bare_ms": round(1e3 * bare, 2),
        "ratio": round(whole / bare, 3),
        **vars(asked),
    }
    print(json.dumps(figures))
    return 0


def measure(patch: int, feature_maps: int, batch_size: int, rounds: int) -> tuple[float, float]:
    """CPU seconds per step of ``fit`` and of the bare loop.

    Args:
        patch: Height and width of a crop.
        feature_maps: Width of the U-Net.
        batch_size: Crops per step.
        rounds: Repetitions of both.
    """
    import torch

    from biosegment.nets.architectures import build
    from biosegment.nets.losses import segmentation_loss
    from biosegment.nets.network import channels_last
    from biosegment.training.child.fit import fit
    from biosegment.training.child.samples import CropSampler, Sample, input_statistics
    from biosegment.training.child.settings import Hooks, Settings

    torch.set_num_threads(1)
    phantom = Generator((4, 256, 256)).box(Box.of_shape((4, 256, 256)))
    samples = [Sample(phantom.raw[n : n + 1], phantom.labels[n : n + 1]) for n in range(4)]
    sampler = CropSampler(samples, patch=(1, patch, patch), batch_size=batch_size, seed=1)
    quiet = Hooks(lambda _step, _loss: None, lambda _checkpoint: None, lambda: False)
    network = build("unet2d", {"feature_maps": feature_maps}, 2)
    network.set_input_statistics(*input_statistics(samples))

    def whole(steps: int) -> None:
        settings = Settings(
            steps=steps,
            batch_size=batch_size,
            learning_rate=1e-3,
            patch=(1, patch, patch),
            seed=1,
            checkpoint_steps=steps,
            dice_weight=0.5,
        )
        fit(network, sampler, settings, quiet)

    batches = [sampler.batch(step) for step in range(_STEPS)]
    inputs = [torch.from_numpy(raw) for raw, _ in batches]
    targets = [torch.from_numpy(labels) for _, labels in batches]
    trained = channels_last(build("unet2d", {"feature_maps": feature_maps}, 2).train())
    optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-3, fused=True)

    def bare(steps: int) -> None:
        for step in range(steps):
            loss = segmentation_loss(trained(inputs[step]), targets[step])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()

    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for seconds, loop in zip(found, (whole, bare), strict=True):
            seconds.append(_per_step(loop))
    return median(found[0]), median(found[1])


def _per_step(loop: Callable[[int], None]) -> float:
    """CPU seconds per step, what a run costs once (starting the trainer) taken off."""
    loop(1)
    started = time.process_time()
    loop(1)
    once = time.process_time() - started
    started = time.process_time()
    loop(_STEPS)
    return (time.process_time() - started - once) / (_STEPS - 1)


if __name__ == "__main__":
    sys.exit(main())
