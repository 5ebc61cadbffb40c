"""What requests may hold: every kind of field, in every place that a message has."""

import math
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from biosegment.client.errors import InvalidArgumentError
from biosegment.runtime import border
from biosegment.v1 import (
    acquisition_pb2,
    annotations_pb2,
    campaigns_pb2,
    inference_pb2,
    ingest_pb2,
    jobs_pb2,
    registry_pb2,
    storage_pb2,
    training_pb2,
    types_pb2,
)

NAN, INF = math.nan, math.inf


def labelled(**values: Any) -> jobs_pb2.CreateJobRequest:
    request = jobs_pb2.CreateJobRequest()
    request.job.labels.update(values)
    return request


def volume(z: float) -> storage_pb2.CreateVolumeRequest:
    request = storage_pb2.CreateVolumeRequest()
    request.volume.voxel_size.z = z
    return request


def resolve(value: Any) -> training_pb2.ResolveArchitectureRequest:
    request = training_pb2.ResolveArchitectureRequest(name="unet2d")
    request.parameters.update({"dropout": value})
    return request


def strategy(value: Any) -> acquisition_pb2.StartCampaignRequest:
    request = acquisition_pb2.StartCampaignRequest()
    request.campaign.strategy.parameters.update({"a": {"b": [1, value]}})
    return request


def ranked(score: float) -> jobs_pb2.CompleteJobRequest:
    request = jobs_pb2.CompleteJobRequest()
    request.result.rank_result.patches.add(score=1.0)
    request.result.rank_result.patches.add(score=score)
    return request


def metadata(**values: str) -> ingest_pb2.StartImportRequest:
    request = ingest_pb2.StartImportRequest()
    request.spec.dataset.metadata.update(values)
    return request


def lease(seconds: int, nanos: int = 0) -> campaigns_pb2.ClaimProposalsRequest:
    request = campaigns_pb2.ClaimProposalsRequest()
    request.lease.seconds, request.lease.nanos = seconds, nanos
    return request


def claim(claimant: str) -> campaigns_pb2.ClaimProposalsRequest:
    return campaigns_pb2.ClaimProposalsRequest(claimant=claimant)


def named(text: str) -> registry_pb2.PutLabelClassRequest:
    return registry_pb2.PutLabelClassRequest(
        label_class=registry_pb2.LabelClass(display_name=text, color="#ffffff")
    )


@pytest.mark.parametrize("number", [NAN, INF, -INF])
@pytest.mark.parametrize(
    ("make", "place"),
    [
        (volume, "volume.voxel_size.z"),
        (lambda n: labelled(x=n), "job.labels.x"),
        (resolve, "parameters.dropout"),
        (strategy, "campaign.strategy.parameters.a.b[1]"),
        (ranked, "result.rank_result.patches[1].score"),
    ],
)
def test_a_number_is_finite(make: Any, place: str, number: float) -> None:
    with pytest.raises(InvalidArgumentError, match="finite") as caught:
        border.check(make(number))
    assert caught.value.metadata["field"] == place
    assert caught.value.message.startswith(place)
    border.check(make(1e300))


@pytest.mark.parametrize(
    "text",
    [
        'eve\n{"event":"fake"}\x1b[31m',
        "\x1b]0;title\x07",
        "a\rb",
        "a\x00b",
        "a\x7f",
        "a\x9b31m",
        "a\u202eb",
        "a\u2028b",
    ],
)
@pytest.mark.parametrize(
    ("make", "place"),
    [
        (claim, "claimant"),
        (named, "label_class.display_name"),
        (lambda text: metadata(**{text: "x"}), "spec.dataset.metadata"),
        (lambda text: labelled(**{text: 1}), "job.labels"),
    ],
)
def test_a_name_holds_no_control_characters(make: Any, place: str, text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="control character U\\+") as caught:
        border.check(make(text))
    assert caught.value.metadata["field"].startswith(place)
    assert border.CONTROL.search(caught.value.message.replace(text, "")) is None


@pytest.mark.parametrize("text", ["größe µm³", "肝臓", "a b", "כבד", "🔬", "x" * 4000, ""])
def test_ordinary_texts_pass(text: str) -> None:
    for request in (claim(text), named(text), metadata(note=text), labelled(note=text)):
        before = request.SerializeToString(deterministic=True)
        border.check(request)
        assert request.SerializeToString(deterministic=True) == before


def test_what_may_have_lines_may_have_them() -> None:
    border.check(metadata(note="first\n\tsecond"))
    with pytest.raises(InvalidArgumentError, match="U\\+001B"):
        border.check(metadata(note="first\n\x1b[2Jsecond"))


@pytest.mark.parametrize(
    ("request_", "place"),
    [
        (ingest_pb2.StartImportRequest(spec=jobs_pb2.ImportSpec(source_path="/" * 5000)), "spec"),
        (claim("c" * 5000), "claimant"),
        (metadata(note="n" * 50_000), "spec.dataset.metadata.note"),
        (labelled(note="n" * 50_000), "job.labels.note"),
        (storage_pb2.GetVolumeRequest(name="n" * 5000), "name"),
    ],
)
def test_a_text_has_an_end(request_: Message, place: str) -> None:
    with pytest.raises(InvalidArgumentError, match="characters") as caught:
        border.check(request_)
    assert caught.value.metadata["field"].startswith(place)
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("seconds", [10**12, -(10**12), 2**63 - 1])
def test_a_duration_can_be_computed_with(seconds: int) -> None:
    with pytest.raises(InvalidArgumentError, match="lease"):
        border.check(lease(seconds))
    with pytest.raises(InvalidArgumentError, match="lease"):
        border.check(lease(1, 2**31 - 1))
    border.check(lease(3600, 999_999_999))


def test_a_struct_is_neither_deep_nor_endless() -> None:
    deep: Any = 1
    for _ in range(60):
        deep = {"a": deep}
    with pytest.raises(InvalidArgumentError, match=r"job\.labels"):
        border.check(labelled(x=deep))
    with pytest.raises(InvalidArgumentError, match=r"job\.labels"):
        border.check(labelled(x=list(range(20_000))))
    border.check(labelled(x=list(range(2000)), y={"a": {"b": [None, True, "c"]}}))


def test_a_figure_that_could_not_be_measured_is_left_out() -> None:
    request = jobs_pb2.CompleteJobRequest()
    request.result.train_result.metrics.update({"dice": NAN, "loss": 0.5, "iou": -INF})
    request.result.rank_result.patches.add(score=1.0, statistics={"entropy": NAN, "margin": 1.0})
    border.check(request)
    patch = request.result.rank_result.patches[0]
    assert dict(patch.statistics) == {"margin": 1.0}
    request.result.train_result.metrics.update({"dice": NAN, "loss": 0.5, "iou": -INF})
    border.check(request)
    assert dict(request.result.train_result.metrics) == {"loss": 0.5}


def test_what_software_said_is_cleaned_and_never_refused() -> None:
    request = jobs_pb2.FailJobRequest()
    request.error.message = "line 1\nline 2 \x1b[31mred " + "x" * 100_000
    request.error.metadata.update({"path": "/a\x1bb", "\x07": "x", "size": "3"})
    border.check(request)
    assert request.error.message.startswith("line 1\nline 2 \ufffd[31mred xxx")
    assert len(request.error.message) < 10_000
    assert dict(request.error.metadata) == {"path": "/a\ufffdb", "size": "3"}
    made = jobs_pb2.CreateJobRequest()
    made.job.warnings.extend(["fine", "a\x1bb"])
    border.check(made)
    assert list(made.job.warnings) == ["fine", "a\ufffdb"]


def test_bytes_are_left_alone() -> None:
    noise = bytes(range(256)) * 1000
    for request in (
        annotations_pb2.CommitAnnotationRequest(
            parent="projects/p/datasets/d", annotation=annotations_pb2.Annotation(mask=noise)
        ),
        storage_pb2.WriteRegionRequest(chunk=types_pb2.ArrayChunk(data=noise)),
        storage_pb2.WriteObjectRequest(name="n", data=noise),
    ):
        border.check(request)
    with pytest.raises(InvalidArgumentError, match=r"annotation\.source_tool"):
        border.check(
            annotations_pb2.CommitAnnotationRequest(
                annotation=annotations_pb2.Annotation(mask=noise, source_tool="\x1b")
            )
        )


def test_the_limits_of_whole_numbers_pass() -> None:
    box = types_pb2.Box(z_start=-(2**63), z_stop=2**63 - 1)
    border.check(inference_pb2.ScorePatchesRequest(boxes=[box] * 3, seed=2**63 - 1))


def every_request() -> list[type[Message]]:
    modules = (
        acquisition_pb2,
        annotations_pb2,
        campaigns_pb2,
        inference_pb2,
        ingest_pb2,
        jobs_pb2,
        registry_pb2,
        storage_pb2,
        training_pb2,
    )
    return [
        getattr(module, name) for module in modules for name in dir(module) if "Request" in name
    ]


@pytest.mark.parametrize("kind", every_request(), ids=lambda kind: kind.__name__)
def test_every_text_of_every_request_is_looked_at(kind: type[Message]) -> None:
    for field in kind.DESCRIPTOR.fields:
        if field.type == field.TYPE_STRING and not field.message_type:
            text = ["\x1b"] if field.is_repeated else "\x1b"
            request = ParseDict({field.name: text}, kind())
            if field.name in border._SAID:
                border.check(request)
                assert "\x1b" not in str(getattr(request, field.name))
                continue
            with pytest.raises(InvalidArgumentError, match=field.name):
                border.check(request)
