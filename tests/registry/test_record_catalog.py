import asyncio

import pytest
from google.protobuf.struct_pb2 import Struct

from biosegment.client.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
)
from biosegment.v1 import jobs_pb2, registry_pb2
from tests.registry.record_kit import DATASET, MODEL, PROJECT, SHAPE, Record


def _create(name: str, request_id: str = "") -> registry_pb2.CreateProjectRequest:
    return registry_pb2.CreateProjectRequest(
        request_id=request_id, project=registry_pb2.Project(name=name, display_name="Mine")
    )


async def test_a_project_begins_with_background(empty_record: Record) -> None:
    registry = empty_record.stubs.registry
    made = (await registry.CreateProject(_create("projects/p"))).project
    assert made.display_name == "Mine"
    assert made.create_time.seconds > 0
    got = (await registry.GetProject(registry_pb2.GetProjectRequest(name="projects/p"))).project
    assert got == made
    request = registry_pb2.ListLabelClassesRequest(parent="projects/p")
    classes = (await registry.ListLabelClasses(request)).label_classes
    assert [(c.name, c.value, c.display_name) for c in classes] == [
        ("projects/p/labelClasses/0", 0, "background")
    ]


@pytest.mark.parametrize(
    "name", ["", "p", "projects/", "projects/P", "projects/_a", "projects/a-", "projects/a/b", "-"]
)
async def test_names_that_are_none_are_refused(empty_record: Record, name: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"cannot name a project|full name of a project"):
        await empty_record.stubs.registry.CreateProject(_create(name))


async def test_a_taken_name_and_a_repeat_are_told_apart(empty_record: Record) -> None:
    registry = empty_record.stubs.registry
    first = await registry.CreateProject(_create("projects/p", "id-1"))
    assert await registry.CreateProject(_create("projects/p", "id-1")) == first
    with pytest.raises(AlreadyExistsError, match="already; choose another"):
        await registry.CreateProject(_create("projects/p", "id-2"))


async def test_one_of_many_makers_gets_the_name(empty_record: Record) -> None:
    calls = [empty_record.stubs.registry.CreateProject(_create("projects/p")) for _ in range(8)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(answer, AlreadyExistsError) for answer in answers) == 7


async def test_projects_walk_page_by_page(empty_record: Record) -> None:
    registry = empty_record.stubs.registry
    names = sorted(f"projects/p{i}" for i in range(7))
    for name in reversed(names):
        await registry.CreateProject(_create(name))
    request = registry_pb2.ListProjectsRequest(page_size=3)
    pages = []
    while True:
        answer = await registry.ListProjects(request)
        pages.append([project.name for project in answer.projects])
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert pages == [names[:3], names[3:6], names[6:]]


@pytest.mark.parametrize("token", ["!!", "AAAA", "_w"])
async def test_damaged_tokens_are_refused(record: Record, token: str) -> None:
    with pytest.raises(InvalidArgumentError, match="page_token is damaged"):
        await record.stubs.registry.ListProjects(registry_pb2.ListProjectsRequest(page_token=token))
    with pytest.raises(InvalidArgumentError, match="page_token is damaged"):
        await record.stubs.registry.ListModelVersions(
            registry_pb2.ListModelVersionsRequest(parent=MODEL, page_token=token)
        )


async def test_what_is_not_there_is_named(record: Record) -> None:
    registry = record.stubs.registry
    with pytest.raises(NotFoundError, match="There is no project"):
        await registry.GetProject(registry_pb2.GetProjectRequest(name="projects/none"))
    with pytest.raises(NotFoundError, match='There is no data set "none" in the project "p"'):
        await registry.GetDataset(registry_pb2.GetDatasetRequest(name=f"{PROJECT}/datasets/none"))
    with pytest.raises(NotFoundError, match="There is no model"):
        await registry.GetModel(registry_pb2.GetModelRequest(name=f"{PROJECT}/models/none"))
    with pytest.raises(NotFoundError, match="There is no model version"):
        await registry.GetModelVersion(
            registry_pb2.GetModelVersionRequest(name=f"{MODEL}/versions/1")
        )
    with pytest.raises(NotFoundError, match="There is no project"):
        await registry.ListModels(registry_pb2.ListModelsRequest(parent="projects/none"))
    with pytest.raises(InvalidArgumentError, match="is not the full name"):
        await registry.GetDataset(registry_pb2.GetDatasetRequest(name="datasets/d"))
    with pytest.raises(InvalidArgumentError, match="must end in a number"):
        await registry.GetModelVersion(
            registry_pb2.GetModelVersionRequest(name=f"{MODEL}/versions/{'9' * 40}")
        )


async def test_label_classes_are_put_by_value(record: Record) -> None:
    made = await record.put_class(7, display_name="ER", color="#AABBCC", ontology_term="GO:0005783")
    assert (made.display_name, made.color, made.ontology_term) == ("ER", "#aabbcc", "GO:0005783")
    changed = await record.put_class(7, display_name="reticulum")
    assert changed.display_name == "reticulum"
    assert changed.color.startswith("#")
    request = registry_pb2.ListLabelClassesRequest(parent=PROJECT)
    listed = (await record.stubs.registry.ListLabelClasses(request)).label_classes
    assert [c.value for c in listed] == [0, 1, 2, 7]
    assert listed[3] == changed
    paged = registry_pb2.ListLabelClassesRequest(parent=PROJECT, page_size=1)
    first = await record.stubs.registry.ListLabelClasses(paged)
    paged.page_token = first.next_page_token
    assert [c.value for c in first.label_classes] == [0]
    second = (await record.stubs.registry.ListLabelClasses(paged)).label_classes
    assert [c.value for c in second] == [1]


async def test_a_class_keeps_what_is_not_given(record: Record) -> None:
    full = {"display_name": "ER", "color": "#aabbcc", "ontology_term": "GO:0005783"}
    made = await record.put_class(7, **full)
    for field, value in {
        "display_name": "reticulum",
        "color": "#112233",
        "ontology_term": "GO:1",
    }.items():
        full[field] = value
        changed = await record.put_class(7, **{field: value})
        assert {name: getattr(changed, name) for name in full} == full
    assert await record.put_class(7) == changed
    # A mask can take away, and leave what stands beside it in the request.
    cleared = await record.put_class(7, ["ontology_term"], display_name="other")
    assert (cleared.ontology_term, cleared.display_name) == ("", "reticulum")
    default = await record.put_class(7, ["color"])
    assert default.color == (await record.put_class(14, display_name="x")).color
    assert made.value == 7


@pytest.mark.parametrize(
    ("value", "fields", "mask", "words"),
    [
        (1, {}, ["display_name"], "Class 1 needs a name"),
        (9, {}, ["display_name"], "Class 9 needs a name"),
        (1, {"display_name": " "}, None, "Class 1 needs a name"),
        (0, {"display_name": "membrane"}, None, "Class 0 is the background"),
        (0, {"display_name": "Background"}, ["display_name"], "Class 0 is the background"),
        (0, {}, ["display_name"], "Class 0 needs a name"),
        (1, {"display_name": "a"}, ["value"], '"value" is not a field'),
        (1, {"color": "red"}, ["color"], "no colour"),
    ],
)
async def test_names_and_masks_of_classes_that_make_no_sense_are_refused(
    record: Record, value: int, fields: dict[str, str], mask: list[str] | None, words: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=words):
        await record.put_class(value, mask, **fields)


async def test_background_may_be_shown_in_another_colour(record: Record) -> None:
    changed = await record.put_class(0, color="#010203")
    assert (changed.display_name, changed.color) == ("background", "#010203")
    assert await record.put_class(0, display_name="background") == changed


async def test_label_classes_that_are_none_are_refused(record: Record) -> None:
    with pytest.raises(InvalidArgumentError, match="from 0 to 253"):
        await record.put_class(254)
    with pytest.raises(InvalidArgumentError, match="colour"):
        await record.put_class(1, color="red")
    with pytest.raises(InvalidArgumentError, match="at most 200"):
        await record.put_class(1, display_name="x" * 201)
    with pytest.raises(InvalidArgumentError, match="control character"):
        await record.put_class(1, display_name="a\0b")
    wrong = registry_pb2.LabelClass(name=f"{PROJECT}/labelClasses/1", value=2)
    with pytest.raises(InvalidArgumentError, match="same as its name"):
        await record.stubs.registry.PutLabelClass(
            registry_pb2.PutLabelClassRequest(label_class=wrong)
        )


async def test_a_model_keeps_its_parameters_and_classes(record: Record) -> None:
    parameters = Struct()
    parameters.update({"depth": 4, "norm": "batch", "widths": [16, 32]})
    model = registry_pb2.Model(
        name=f"{PROJECT}/models/n", architecture="unet", classes=[0, 2], parameters=parameters
    )
    request = registry_pb2.CreateModelRequest(request_id="m", model=model)
    made = await record.stubs.registry.CreateModel(request)
    assert await record.stubs.registry.CreateModel(request) == made
    got = (
        await record.stubs.registry.GetModel(registry_pb2.GetModelRequest(name=model.name))
    ).model
    assert got == made.model
    assert got.parameters == parameters
    assert list(got.classes) == [0, 2]
    listed = await record.stubs.registry.ListModels(registry_pb2.ListModelsRequest(parent=PROJECT))
    assert [m.name for m in listed.models] == [MODEL, model.name]


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        ([], "two or more"),
        ([0], "two or more"),
        ([1, 0], "background"),
        ([0, 1, 1], "each named once"),
        ([0, 9], "no label class of value 9"),
    ],
)
async def test_models_of_wrong_classes_are_refused(
    record: Record, classes: list[int], sentence: str
) -> None:
    model = registry_pb2.Model(name=f"{PROJECT}/models/n", architecture="unet", classes=classes)
    with pytest.raises(InvalidArgumentError, match=sentence):
        await record.stubs.registry.CreateModel(registry_pb2.CreateModelRequest(model=model))


async def test_a_model_needs_an_architecture_and_numbers(record: Record) -> None:
    model = registry_pb2.Model(name=f"{PROJECT}/models/n", classes=[0, 1])
    with pytest.raises(InvalidArgumentError, match="biosegment model architectures"):
        await record.stubs.registry.CreateModel(registry_pb2.CreateModelRequest(model=model))
    model.architecture = "unet"
    model.parameters["dropout"] = float("nan")
    with pytest.raises(InvalidArgumentError, match="give a finite number"):
        await record.stubs.registry.CreateModel(registry_pb2.CreateModelRequest(model=model))


async def test_latest_is_the_newest_version(record: Record) -> None:
    latest = registry_pb2.GetModelVersionRequest(name=f"{MODEL}/versions/latest")
    with pytest.raises(NotFoundError, match="no version yet"):
        await record.stubs.registry.GetModelVersion(latest)
    for job in ("one", "two", "three"):
        await record.train(job)
    found = (await record.stubs.registry.GetModelVersion(latest)).version
    assert found.name == f"{MODEL}/versions/3"
    assert found.job == f"{PROJECT}/jobs/three"
    request = registry_pb2.ListModelVersionsRequest(parent=MODEL, page_size=2)
    first = await record.stubs.registry.ListModelVersions(request)
    assert [v.name[-1] for v in first.versions] == ["3", "2"]
    request.page_token = first.next_page_token
    second = await record.stubs.registry.ListModelVersions(request)
    assert [v.name[-1] for v in second.versions] == ["1"]
    assert not second.next_page_token


async def test_data_sets_of_one_project_and_of_all(record: Record) -> None:
    other = registry_pb2.Project(name="projects/a")
    await record.stubs.registry.CreateProject(registry_pb2.CreateProjectRequest(project=other))
    await record.import_dataset("d2")
    listing = record.stubs.registry.ListDatasets
    everywhere = await listing(registry_pb2.ListDatasetsRequest(parent="projects/-"))
    assert [d.name for d in everywhere.datasets] == [DATASET, f"{PROJECT}/datasets/d2"]
    assert not (await listing(registry_pb2.ListDatasetsRequest(parent="projects/a"))).datasets
    found = await record.dataset()
    assert (found.shape.z, found.shape.y, found.shape.x) == SHAPE
    assert found.label_volume == f"{PROJECT}/volumes/d-labels"
    assert dict(found.metadata) == {"organism": "yeast"}
    assert found.revision == 0


async def test_segmentations_are_listed_newest_first(record: Record) -> None:
    version = await record.train()
    for name in ("s1", "s2", "s3"):
        await record.apply(
            name,
            jobs_pb2.SegmentResult(),
            segment_spec=jobs_pb2.SegmentSpec(
                dataset=DATASET,
                version=version,
                volume=f"{PROJECT}/volumes/{name}",
                segmentation=f"{DATASET}/segmentations/{name}",
            ),
        )
    request = registry_pb2.ListSegmentationsRequest(parent=DATASET, page_size=2)
    first = await record.stubs.registry.ListSegmentations(request)
    request.page_token = first.next_page_token
    second = await record.stubs.registry.ListSegmentations(request)
    names = [s.name.rsplit("/", 1)[1] for s in (*first.segmentations, *second.segmentations)]
    assert names == ["s3", "s2", "s1"]
