"""Which pages of a TIFF file are the stack that is meant."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path

from biosegment.client.errors import InvalidArgumentError
from biosegment.ingest.readers.base import Reading
from biosegment.ingest.readers.tiff.facts import PageFacts
from biosegment.ingest.readers.tiff.headers import Described, Image, by_size, renamed

# ImageJ shows no more channels than these. A stack of more "channels" is one of sections, written
# by a program that names the first axis so unless told otherwise.
_MAX_CHANNELS = 7
_MAX_NAMED = 6
_WORDS = {"T": "times", "C": "channels"}


@dataclass(frozen=True, slots=True)
class Chosen:
    """The pages of one stack.

    Attributes:
        planes: Their numbers, from the first section to the last.
        image: What the header says of the image that they belong to.
        warnings: What was assumed.
    """

    planes: tuple[int, ...]
    image: Image
    warnings: tuple[str, ...]


def choose(
    file: Path, described: Described, facts: Sequence[PageFacts], reading: Reading
) -> Chosen:
    """The stack that is meant.

    Raises:
        InvalidArgumentError: There are several, or header and pages contradict each other; the
            sentence names what settles it.
    """
    if reading.axes == "ZYX" and not reading.image and not described.virtual:
        return _every_page(file, described, facts)
    if described.trouble:
        hint = "Copy or save it again, or take the pages that are there with --axes ZYX"
        raise InvalidArgumentError(
            f"{file} contradicts itself: {described.trouble}. {hint}.", path=file
        )
    images, warnings = _without_previews(file, described, facts)
    if (
        len(images) > 1
        and all(len(image.planes) == 1 for image in images)
        and _alike(images, facts)
    ):
        planes = tuple(image.planes[0] for image in images)
        images = [Image((("Z", len(planes)),), planes, images[0].name, images[0].sizes)]
    if reading.axes:
        images = [_named_as_told(file, image, reading.axes) for image in images]
    stacks = [stack for image in images for stack in _stacks(image, told=bool(reading.axes))]
    if not reading.image and len(stacks) > 1:
        raise _which(file, images, stacks, facts)
    if reading.image > len(stacks):
        raise InvalidArgumentError(
            f"{file} holds {len(stacks)} stack(s), so there is no --image {reading.image}.",
            path=file,
        )
    image, planes = stacks[max(reading.image - 1, 0)]
    if not reading.axes:
        warnings += _assumed(file, image, len(planes))
    return Chosen(planes, image, tuple(warnings))


def _every_page(file: Path, described: Described, facts: Sequence[PageFacts]) -> Chosen:
    groups, warnings = _without_previews(file, Described(by_size(facts)), facts)
    if len(groups) > 1:
        raise _sizes_differ(file, groups, facts)
    sizes = [image.sizes for image in described.images if image.sizes is not None]
    image = Image(groups[0].axes, groups[0].planes, sizes=sizes[0] if sizes else None)
    return Chosen(image.planes, image, tuple(warnings))


def _without_previews(
    file: Path, described: Described, facts: Sequence[PageFacts]
) -> tuple[list[Image], list[str]]:
    """The images that are no small copies of others, and what was left out."""
    said = []
    reduced = [str(page.index + 1) for page in facts if page.reduced]
    if reduced:
        more = f" and {len(reduced) - _MAX_NAMED} more" if len(reduced) > _MAX_NAMED else ""
        said.append(
            f"Page {', '.join(reduced[:_MAX_NAMED])}{more} of {file} is marked as a preview or "
            "mask of other pages, and was left out."
        )
    images = list(described.images)
    largest = max(
        (facts[image.planes[0]].size for image in images if not described.virtual),
        key=prod,
        default=(0, 0),
    )
    for image in [] if described.virtual else described.images:
        size = facts[image.planes[0]].size
        if (
            len(images) > 1
            and len(image.planes) == 1
            and all(2 * n <= most for n, most in zip(size, largest, strict=True))
        ):
            images.remove(image)
            said.append(
                f"Page {image.planes[0] + 1} of {file} has {size[0]} × {size[1]} pixels where "
                f"others have {largest[0]} × {largest[1]}; it was taken for a preview and left out."
            )
    if not images:
        raise InvalidArgumentError(f"{file} holds no image.", path=file)
    return images, said


def _alike(images: Sequence[Image], facts: Sequence[PageFacts]) -> bool:
    # OME names its images; what has a name of its own is no section of another.
    one_size = len({facts[image.planes[0]].size for image in images}) == 1
    return one_size and not any(image.name for image in images)


def _named_as_told(file: Path, image: Image, axes: str) -> Image:
    letters = axes[:-2]
    if letters == "Z":
        return Image((("Z", len(image.planes)),), image.planes, image.name, image.sizes)
    if len(letters) != len(image.axes):
        has = ", ".join(f"{axis}: {n}" for axis, n in image.axes) or "none"
        raise InvalidArgumentError(
            f"--axes {axes} names {len(letters)} axes before rows and columns, but {file} has "
            f"{len(image.axes)} ({has}). Give as many letters, or ZYX to take each page as a "
            "section.",
            path=file,
        )
    return renamed(image, letters)


def _stacks(image: Image, *, told: bool) -> list[tuple[Image, tuple[int, ...]]]:
    """The stacks of an image: one for each place on the axes that are not its depth."""
    names = [axis for axis, _ in image.axes]
    if "Z" in names:
        depth = names.index("Z")
    elif told and names:
        depth = -1  # Somebody named every axis, and none of them depth.
    elif names == ["C"]:
        depth = -1 if image.axes[0][1] <= _MAX_CHANNELS else 0
    else:
        depth = max((n for n, name in enumerate(names) if name != "C"), default=-1)
    extents = [n for _, n in image.axes]
    steps = [prod(extents[n + 1 :]) for n in range(len(extents))]
    others = [range(n) if axis != depth else range(1) for axis, n in enumerate(extents)]
    sections = range(extents[depth]) if depth >= 0 else range(1)
    found = []
    for place in product(*others):
        base = sum(n * step for n, step in zip(place, steps, strict=True))
        stride = steps[depth] if depth >= 0 else 0
        found.append((image, tuple(image.planes[base + n * stride] for n in sections)))
    return found


def _which(
    file: Path,
    images: Sequence[Image],
    stacks: Sequence[tuple[Image, tuple[int, ...]]],
    facts: Sequence[PageFacts],
) -> InvalidArgumentError:
    """The error that the file holds several stacks."""
    if len({facts[0 if len(facts) == 1 else planes[0]].size for _, planes in stacks}) > 1:
        return _sizes_differ(file, images, facts)
    depths = sorted({len(planes) for _, planes in stacks})
    sections = " or ".join(map(str, depths))
    if len(images) > 1:
        names = ", ".join(f'"{image.name}"' for image in images[:_MAX_NAMED] if image.name)
        what = f"{len(images)} images ({names})" if names else f"{len(images)} images"
    else:
        axes = images[0].axes
        what = " × ".join(
            f"{n} {_WORDS.get(axis, 'of ' + axis)}" for axis, n in axes if axis != "Z"
        )
        if not any(axis in _WORDS for axis, _ in axes):
            what = "an array of " + " × ".join(str(n) for _, n in axes) + " pages"
    return InvalidArgumentError(
        f"{file} holds {what}: {len(stacks)} stacks of {sections} section(s), of which an import "
        f"takes one. Say which with --image 1 to --image {len(stacks)}, or take every page as a "
        "section with --axes ZYX.",
        path=file,
    )


def _sizes_differ(
    file: Path, images: Sequence[Image], facts: Sequence[PageFacts]
) -> InvalidArgumentError:
    sizes = dict.fromkeys(facts[image.planes[0]].size for image in images)
    listed = ", ".join(f"{y} × {x}" for y, x in list(sizes)[:_MAX_NAMED])
    return InvalidArgumentError(
        f"The pages of {file} differ in size ({listed}). Say which are meant with --image 1 to "
        f"--image {len(images)}.",
        path=file,
    )


def _assumed(file: Path, image: Image, sections: int) -> list[str]:
    """What is told where an axis of another name was read as depth."""
    names = [axis for axis, n in image.axes]
    if sections > 1 and "Z" not in names and names and names[-1] in _WORDS:
        word = _WORDS[names[-1]]
        return [
            f"The header of {file} calls its {sections} pages {word}; they were read as sections."
        ]
    return []
