"""Checks a campaign against data set, model and strategy, and records it."""

from biosegment.acquisition import defaults, stopping
from biosegment.acquisition.candidates import check_fits
from biosegment.acquisition.strategies.base import read_parameters
from biosegment.acquisition.strategies.table import find
from biosegment.client.complete import check_complete
from biosegment.client.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from biosegment.client.geometry import ZYX, Box, shape_of, shape_proto
from biosegment.client.names import CAMPAIGN, DATASET, MODEL, VERSION, VOLUME, parse, project_of
from biosegment.client.stubs import AsyncStubs
from biosegment.v1 import campaigns_pb2 as pb
from biosegment.v1 import registry_pb2, storage_pb2, training_pb2

_MAX_POOL = 100_000


async def check(stubs: AsyncStubs, wanted: pb.Campaign) -> pb.Campaign:
    """The campaign with every default filled in, if it can be run.

    Raises:
        InvalidArgumentError: A part is wrong or does not fit the others.
        NotFoundError: Data set, model, version or reference volume does not exist.
        OutsideVolumeError: A box leaves the data set.
        FailedPreconditionError: The reference volume is not complete, or the strategy needs a
            model with dropout.
    """
    project, _ = parse(CAMPAIGN, wanted.name)
    for name, pattern in ((wanted.dataset, DATASET), (wanted.model, MODEL)):
        if parse(pattern, name)[0] != project:
            raise InvalidArgumentError(
                f"{name} belongs to another project than {wanted.name}.", name=name
            )
    _check_beginning(wanted)
    dataset = (
        await stubs.registry.GetDataset(registry_pb2.GetDatasetRequest(name=wanted.dataset))
    ).dataset
    model = (await stubs.registry.GetModel(registry_pb2.GetModelRequest(name=wanted.model))).model
    campaign = pb.Campaign()
    campaign.CopyFrom(wanted)
    shape = shape_of(dataset.shape)
    network = await _architecture(stubs, model)
    if not campaign.HasField("patch"):
        campaign.patch.CopyFrom(shape_proto(defaults.patch_for(network, shape)))
    answer = await stubs.training.DescribeDevice(training_pb2.DescribeDeviceRequest())
    defaults.fill(campaign, shape, answer.device)
    _check_counts(campaign)
    _check_candidates(campaign)
    stopping.check(campaign)
    region = Box.from_proto(campaign.region).within(shape, f"the data set {dataset.name}")
    if region.level != 0:
        raise InvalidArgumentError(
            f"The region {region} counts voxels of level {region.level}; give it in voxels of "
            "level 0.",
            field="region",
        )
    _check_patch(shape_of(campaign.patch), region, network)
    _check_dropout(campaign, model)
    if campaign.base_version:
        campaign.base_version = await _base_version(stubs, campaign)
    if campaign.HasField("evaluation"):
        await _check_evaluation(stubs, campaign, region, shape)
    return campaign


def _check_beginning(wanted: pb.Campaign) -> None:
    """Looks at what was asked for, before defaults make it present."""
    if wanted.skip_pretraining and wanted.HasField("pretraining"):
        raise InvalidArgumentError(
            f"{wanted.name} says how to pretrain and to skip it; leave one of the two out.",
            field="skip_pretraining",
        )
    unlabelled = wanted.HasField("pretraining") or wanted.HasField("first_strategy")
    if wanted.base_version and unlabelled:
        raise InvalidArgumentError(
            f"{wanted.name} begins with {wanted.base_version}; pretraining and a strategy for "
            "the time without labels are for campaigns that begin from nothing.",
            field="base_version",
        )


def _check_counts(campaign: pb.Campaign) -> None:
    most = max(campaign.initial_patches, campaign.batch_patches)
    if not most <= campaign.pool_patches <= _MAX_POOL:
        raise InvalidArgumentError(
            f"A pool of {campaign.pool_patches} candidates does not serve rounds of up to {most} "
            f"patches; take {most} to {_MAX_POOL}.",
            field="pool_patches",
        )


async def _architecture(stubs: AsyncStubs, model: registry_pb2.Model) -> training_pb2.Architecture:
    """What the model's network is, as training knows it."""
    request = training_pb2.ResolveArchitectureRequest(
        name=model.architecture, parameters=model.parameters
    )
    return (await stubs.training.ResolveArchitecture(request)).architecture


def _check_candidates(campaign: pb.Campaign) -> None:
    if campaign.candidates not in pb.CandidateSource.values():
        raise InvalidArgumentError(
            f"{campaign.candidates} is no source of candidates; take POOL or UNCERTAINTY_VOLUME.",
            field="candidates",
        )
    if campaign.refresh_rounds < 0:
        raise InvalidArgumentError(
            f"refresh_rounds is {campaign.refresh_rounds}; it must not be negative.",
            field="refresh_rounds",
        )
    uncertain = campaign.candidates == pb.CANDIDATE_SOURCE_UNCERTAINTY_VOLUME
    if campaign.refresh_rounds and not uncertain:
        raise InvalidArgumentError(
            "refresh_rounds says how often an uncertainty volume is made; take the candidates from "
            "the UNCERTAINTY_VOLUME, or leave it at 0.",
            field="refresh_rounds",
        )


def _check_patch(patch: ZYX, region: Box, network: training_pb2.Architecture) -> None:
    if min(patch) < 1:
        raise InvalidArgumentError(
            f"A patch of {patch} voxels (z, y, x) holds none; give three positive extents.",
            field="patch",
        )
    check_fits(region, patch)
    step = shape_of(network.patch_step)
    if any(size % s for size, s in zip(patch, step, strict=True)):
        raise InvalidArgumentError(
            f"A patch of {' × '.join(map(str, patch))} voxels (z, y, x) does not suit the network "
            f"{network.name}: its extents must be multiples of {' × '.join(map(str, step))}.",
            field="patch",
        )


def _check_dropout(campaign: pb.Campaign, model: registry_pb2.Model) -> None:
    wanted = find(campaign.strategy.name)
    strategy = wanted(read_parameters(wanted, dict(campaign.strategy.parameters)))
    if strategy.dropout_passes and dict(model.parameters).get("dropout") == 0:
        raise FailedPreconditionError(
            f'The strategy "{strategy.name}" compares passes with dropout, and {model.name} has '
            "none; create a model with dropout=0.1, or take another strategy.",
            name=model.name,
        )


async def _base_version(stubs: AsyncStubs, campaign: pb.Campaign) -> str:
    """The version's own name, where "latest" was given."""
    project, model, _ = parse(VERSION, campaign.base_version)
    if MODEL.format(project, model) != campaign.model:
        raise InvalidArgumentError(
            f"{campaign.base_version} is not a version of {campaign.model}.", field="base_version"
        )
    request = registry_pb2.GetModelVersionRequest(name=campaign.base_version)
    return (await stubs.registry.GetModelVersion(request)).version.name


async def _check_evaluation(
    stubs: AsyncStubs, campaign: pb.Campaign, region: Box, shape: ZYX
) -> None:
    plan = campaign.evaluation
    if not plan.HasField("box"):
        plan.box.CopyFrom(Box.of_shape(shape).to_proto())
    box = Box.from_proto(plan.box).within(shape, f"the data set {campaign.dataset}")
    if box.level != 0 or box.intersection(region) is not None:
        raise InvalidArgumentError(
            f"The evaluation box {box} must be of level 0 and apart from the region {region}: a "
            "model measured on what it learnt from looks better than it is.",
            field="evaluation.box",
        )
    parse(VOLUME, plan.reference_volume)
    if project_of(plan.reference_volume) != project_of(campaign.name):
        raise NotFoundError(
            f"{plan.reference_volume} belongs to another project than {campaign.name}."
        )
    request = storage_pb2.GetVolumeRequest(name=plan.reference_volume)
    volume = (await stubs.storage.GetVolume(request)).volume
    check_complete(volume)
    if volume.kind != storage_pb2.VOLUME_KIND_LABELS or shape_of(volume.levels[0].shape) != shape:
        raise InvalidArgumentError(
            f"{volume.name} cannot be the truth of {campaign.dataset}: it must be a label volume "
            f"of {shape[0]} × {shape[1]} × {shape[2]} voxels (z, y, x).",
            field="evaluation.reference_volume",
        )
