"""Blocks of a whole-volume segmentation: read ahead, predict, write, all three at once."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from biosegment.client.connection import Connection
from biosegment.client.errors import JobCancelledError
from biosegment.client.geometry import ZYX, Box
from biosegment.client.stubs import SyncStubs
from biosegment.inference.child.average import predict_views
from biosegment.inference.child.mask import Mask, Read, Write
from biosegment.inference.child.predict import Predictor
from biosegment.inference.child.session import opened
from biosegment.inference.forwards import Forwards
from biosegment.inference.masks import factors
from biosegment.inference.views import View, around, views_of
from biosegment.runtime.arrays import VolumeArray, build_pyramid
from biosegment.runtime.child import ChildContext, portable

BlockReport = dict[str, Any]
_TELL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Where blocks come from and where they go.

    Attributes:
        predictor: The network.
        read: Reads raw voxels; called in a thread.
        writes: By output of ``predict``: writes it, and returns once it is stored; called in a
            thread.
        shape: Extent of the volume.
        views: What predictions are averaged over.
        tell: Gets (block, part of it that is predicted, 0 to 1), once a second at most.
    """

    predictor: Predictor
    read: Read
    writes: Mapping[str, Write]
    shape: ZYX
    views: Sequence[View] = (View(),)
    tell: Callable[[int, float], None] = lambda _block, _part: None

    def run(
        self,
        blocks: Sequence[tuple[int, Box]],
        report: Callable[[BlockReport], None],
        check: Callable[[], None],
    ) -> None:
        """Segments blocks. While one is predicted the next is read and the last one written.

        Args:
            blocks: (index, voxels to write) of each; their writes share no write unit.
            report: Gets {"block": index} when a block is stored, with "skipped" true when the
                network was not run for it, and with "error" when it failed; the others go on.
            check: Called between forwards; may raise JobCancelledError to stop.
        """
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            ahead: Future[NDArray[Any]] | None = None
            stored: Future[None] | None = None
            for n, (index, box) in enumerate(blocks):
                raw = ahead or reader.submit(self.read, self._around(box))
                following = blocks[n + 1 : n + 2]
                ahead = (
                    reader.submit(self.read, self._around(following[0][1])) if following else None
                )
                before = self.predictor.forwards
                try:
                    made = self._predict(raw.result(), box, check, _now_and_then(self.tell, index))
                except JobCancelledError:
                    raise
                except Exception as error:  # noqa: BLE001 - one block must not stop the others
                    report({"block": index, "error": portable(error)})
                    continue
                # One write at a time: memory holds at most two results.
                if stored is not None:
                    stored.result()
                told = {"block": index, "skipped": self.predictor.forwards == before}
                stored = writer.submit(self._store, box, made, told, report)
            if stored is not None:
                stored.result()

    def _around(self, box: Box) -> Box:
        return around(box, self.views, self.predictor.module.footprint, self.shape)

    def _predict(
        self,
        raw: NDArray[Any],
        box: Box,
        check: Callable[[], None],
        tell: Callable[[float], None],
    ) -> tuple[NDArray[Any], ...]:
        return predict_views(
            self.predictor,
            raw,
            origin=self._around(box).start,
            shape=self.shape,
            box=box,
            outputs=tuple(self.writes),
            views=self.views,
            check=check,
            tell=tell,
        )

    def _store(
        self,
        box: Box,
        made: tuple[NDArray[Any], ...],
        told: BlockReport,
        report: Callable[[BlockReport], None],
    ) -> None:
        try:
            for write, array in zip(self.writes.values(), made, strict=True):
                write(box, array)
        except Exception as error:  # noqa: BLE001 - one block must not stop the others
            report({"block": told["block"], "error": portable(error)})
        else:
            report(told)


def _now_and_then(tell: Callable[[int, float], None], block: int) -> Callable[[float], None]:
    """Tells of a block once a second: a forward of a small network takes less."""
    told = time.monotonic()

    def part(done: float) -> None:
        nonlocal told
        if time.monotonic() - told >= _TELL_SECONDS:
            told = time.monotonic()
            tell(block, done)

    return part


def segment_blocks(
    context: ChildContext,
    *,
    connection: str,
    dataset: str,
    version: str,
    volumes: dict[str, str],
    mask: str,
    augmentation: int,
    three_orientations: bool,
    blocks: list[tuple[int, Box]],
    forwards: Forwards,
) -> None:
    """Segments blocks of a data set into volumes; reports as ``Pipeline.run`` does.

    In between it reports {"block": index, "part": how much of it is predicted}.

    Args:
        context: Of the child.
        connection: Path of the connection file.
        dataset: projects/p/datasets/d
        version: The model version.
        volumes: Name of the volume to write, by output of ``predict``.
        mask: Name of the volume that says where to look; empty means everywhere.
        augmentation: Of the job's spec.
        three_orientations: Of the job's spec.
        blocks: (index, voxels to write) of each.
        forwards: How networks are run.
    """
    with opened(connection, dataset=dataset, version=version, forwards=forwards) as session:
        writes: dict[str, Write] = {
            output: VolumeArray.open(session.stubs, name).write for output, name in volumes.items()
        }
        writes = {output: session.picture.over(write) for output, write in writes.items()}
        if mask:
            where = VolumeArray.open(session.stubs, mask).ready()
            shape = Mask(where.read, factors(where.volume, session.raw.volume))
            writes = {output: shape.over(write) for output, write in writes.items()}
            blocks = shape.touched(
                blocks, lambda index: context.report({"block": index, "skipped": True})
            )
        predictor = session.predictor
        views = views_of(augmentation, three_orientations, predictor.module.footprint)

        def tell(block: int, part: float) -> None:
            context.report({"block": block, "part": part})

        Pipeline(predictor, session.picture.read, writes, session.raw.shape(), views, tell).run(
            blocks, context.report, context.check
        )


def finish(context: ChildContext, *, connection: str, volumes: list[str]) -> None:
    """Fills the coarser levels of volumes, reporting progress."""

    def progress(done: int, total: int) -> None:
        context.check()
        context.report({"done": done, "total": total, "stage": "pyramid"})

    with SyncStubs(Connection.load(Path(connection))) as stubs:
        for volume in volumes:
            build_pyramid(VolumeArray.open(stubs, volume), progress)
