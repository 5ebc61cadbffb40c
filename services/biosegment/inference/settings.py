"""Settings of the inference service."""

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from biosegment.inference.forwards import CpuEngine, Forwards, Precision, openvino_is_installed
from biosegment.runtime.settings import ServiceSettings

KINDS = ("segment", "evaluate", "instances")


class InferenceSettings(ServiceSettings):
    """How much is computed at a time, and which jobs are taken."""

    kinds: Annotated[tuple[str, ...], NoDecode] = Field(
        default=KINDS,
        description="Kinds of jobs that this process takes, separated by commas: segment and "
        "evaluate want a GPU, instances does not",
    )

    instance_processes: int = Field(
        default=2, ge=1, le=256, description="Blocks of instances worked on at a time"
    )
    forward_pixels: int = Field(
        default=1 << 20,
        ge=1 << 12,
        le=1 << 28,
        description="Pixels in one forward of a network, four times as many voxels in 3-D; "
        "memory grows with it",
    )
    cpu_engine: CpuEngine = Field(
        default=CpuEngine.AUTO,
        description="What runs networks where there is no GPU: torch, openvino, or auto for "
        "openvino where it is installed and faster",
    )
    precision: Precision = Field(
        default=Precision.FLOAT32,
        description="What networks compute predictions with: float32, or bfloat16, which is twice "
        "as fast on processors and GPUs that have it and changes the class of few voxels",
    )
    section_mebibytes: int = Field(
        default=4096,
        ge=64,
        le=1 << 20,
        description="Memory that one section may take in a network that has to see all of it",
    )
    answer_mebibytes: int = Field(
        default=64, ge=1, le=1024, description="Largest array that a prediction sends"
    )

    @property
    def forwards(self) -> Forwards:
        """How networks are run."""
        return Forwards(self.forward_pixels, self.cpu_engine, self.precision)

    @field_validator("kinds", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(kind.strip() for kind in value.split(",") if kind.strip())
        return value

    @field_validator("kinds")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        strange = [kind for kind in value if kind not in KINDS]
        if strange:
            raise ValueError(f"{', '.join(strange)} is none of {', '.join(KINDS)}")
        return value

    @field_validator("cpu_engine")
    @classmethod
    def _to_be_had(cls, value: CpuEngine) -> CpuEngine:
        if value is CpuEngine.OPENVINO and not openvino_is_installed():
            raise ValueError("OpenVINO is not installed; pip install 'biosegment[openvino]'")
        return value
