"""Training curves as TensorBoard event files, in the store.

An event file is a sequence of checked records; TensorBoard reads all that lie in a folder, in the
order of their names. Objects of the store cannot be appended to, so each stretch between two
checkpoints becomes a file of its own, named after the step that it begins at and written just
before the checkpoint. A run that is cut off goes on from its newest checkpoint and writes the
stretch after it again under the same name: nothing is lost, and nothing is there twice.
"""

import importlib.util
import io
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


class EventLog:
    """Collects scalars and images, and writes them stretch by stretch.

    Attributes:
        begin: The step that the stretch in hand begins at.
    """

    def __init__(self, write: Callable[[str, bytes], None]) -> None:
        """Takes what stores a file: its name and its bytes."""
        self._write = write
        self.begin = 0
        self._events: list[Any] = []

    @staticmethod
    def available() -> bool:
        """Whether tensorboard, which knows the format, is installed."""
        return importlib.util.find_spec("tensorboard") is not None

    def restart(self, step: int) -> None:
        """Forgets what was not written, and goes on after a step."""
        self.begin = step
        self._events.clear()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Notes numbers by their names."""
        from tensorboard.compat.proto import summary_pb2

        self._note(
            step,
            [summary_pb2.Summary.Value(tag=tag, simple_value=v) for tag, v in values.items()],
        )

    def image(self, step: int, tag: str, pixels: NDArray[np.uint8]) -> None:
        """Notes an image, uint8, (y, x)."""
        from PIL import Image
        from tensorboard.compat.proto import summary_pb2

        data = io.BytesIO()
        Image.fromarray(pixels).save(data, format="PNG")
        height, width = pixels.shape
        image = summary_pb2.Summary.Image(
            height=height, width=width, colorspace=1, encoded_image_string=data.getvalue()
        )
        self._note(step, [summary_pb2.Summary.Value(tag=tag, image=image)])

    def _note(self, step: int, values: list[Any]) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2

        summary = summary_pb2.Summary(value=values)
        self._events.append(event_pb2.Event(wall_time=time.time(), step=step, summary=summary))

    def flush(self, step: int) -> None:
        """Writes the stretch that ends with a step; the next one begins there."""
        if self._events:
            from tensorboard.compat.proto import event_pb2
            from tensorboard.summary.writer.record_writer import RecordWriter

            file = io.BytesIO()
            writer = RecordWriter(file)
            head = event_pb2.Event(wall_time=time.time(), file_version="brain.Event:2")
            for event in [head, *self._events]:
                writer.write(event.SerializeToString())
            self._write(f"events.out.tfevents.{self.begin:09d}", file.getvalue())
        self.restart(step)
