"""The one JSON shape of messages and errors."""

import json
import math

from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from biosegment.client.errors import NotFoundError
from biosegment.client.geometry import Box
from biosegment.client.plain import as_plain, problem
from biosegment.v1 import annotations_pb2, campaigns_pb2, jobs_pb2, registry_pb2, types_pb2


def test_zeros_and_what_is_empty_are_there():
    background = as_plain(registry_pb2.LabelClass(display_name="background"))
    assert background["value"] == 0
    assert background["ontology_term"] == ""
    proposal = campaigns_pb2.Proposal(box=Box((0, 0, 5), (1, 2, 9)).to_proto())
    assert as_plain(proposal)["box"] == {
        "z_start": 0, "y_start": 0, "x_start": 5, "z_stop": 1, "y_stop": 2, "x_stop": 9, "level": 0,
    }  # fmt: skip
    dataset = as_plain(registry_pb2.Dataset())
    assert (dataset["metadata"], dataset["reference_volumes"]) == ({}, [])


def test_what_was_not_set_is_not_there():
    job = as_plain(jobs_pb2.Job())
    assert not {"progress", "error", "result", "train_spec", "create_time"} & set(job)
    assert "best_trial" not in as_plain(jobs_pb2.SearchResult())
    assert as_plain(jobs_pb2.SearchResult(best_trial=0))["best_trial"] == 0


def test_whole_numbers_are_numbers_whatever_their_size():
    shape = types_pb2.Shape(z=2**53 + 1, y=2**63 - 1, x=0)
    assert as_plain(shape) == {"z": 2**53 + 1, "y": 2**63 - 1, "x": 0}
    parameters = registry_pb2.Model()
    parameters.parameters.update({"levels": 4, "rate": 0.5, "deep": [True, None, {"a": "b"}]})
    assert as_plain(parameters)["parameters"] == {
        "deep": [True, None, {"a": "b"}],
        "levels": 4,
        "rate": 0.5,
    }
    assert isinstance(as_plain(parameters)["parameters"]["levels"], int)


def test_enums_are_names_and_those_of_tomorrow_numbers():
    assert as_plain(jobs_pb2.Job())["state"] == "JOB_STATE_UNSPECIFIED"
    assert as_plain(jobs_pb2.Job(state=jobs_pb2.JOB_STATE_FAILED))["state"] == "JOB_STATE_FAILED"
    assert as_plain(jobs_pb2.Job(state=999))["state"] == 999


def test_what_json_has_no_number_for_is_a_word_and_breaks_no_list():
    progress = jobs_pb2.Progress(figures={"a": math.nan, "b": -math.inf, "c": math.inf, "d": 1})
    assert as_plain(progress)["figures"] == {"a": "NaN", "b": "-Infinity", "c": "Infinity", "d": 1}
    job = jobs_pb2.Job()
    job.labels.update({"x": math.nan, "y": [math.inf]})
    assert as_plain(job)["labels"] == {"x": "NaN", "y": ["Infinity"]}
    json.dumps(as_plain(job), allow_nan=False)


def test_times_durations_and_bytes_are_text():
    progress = jobs_pb2.Progress(eta=Duration(seconds=90, nanos=500_000_000))
    assert as_plain(progress)["eta"] == "90.500s"
    dataset = registry_pb2.Dataset(create_time=Timestamp(seconds=1_800_000_000))
    assert as_plain(dataset)["create_time"] == "2027-01-15T08:00:00Z"
    assert as_plain(annotations_pb2.Annotation(mask=b"\0\1"))["mask"] == "AAE="


def test_an_error_says_what_it_is():
    error = NotFoundError("There is none.", name="x")
    assert problem(error) == {
        "error": {
            "code": "NOT_FOUND",
            "reason": "NOT_FOUND",
            "message": "There is none.",
            "metadata": {"name": "x"},
        }
    }


def test_the_parser_of_protobuf_reads_it() -> None:
    job = jobs_pb2.Job(name="j", state=jobs_pb2.JOB_STATE_RUNNING)
    job.progress.done, job.progress.eta.seconds = 2**60, 90
    job.progress.figures["loss"] = 0.5
    job.labels.update({"sample": "a", "grid": [1, None, 2.5]})
    assert json_format.ParseDict(as_plain(job), jobs_pb2.Job()) == job
