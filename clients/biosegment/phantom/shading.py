"""Grey values: stain first, then what section cutter, beam and detector do to it."""

import numpy as np
from numpy.typing import NDArray

from biosegment.phantom.cells import Cells, smeared
from biosegment.phantom.noise import F32, NM, Place, uniform, value_noise, voxel_noise
from biosegment.phantom.organelles import GREY, KIND, MATRIX, MYELIN, Bodies, vesicles

HALO = 5
"""Voxels along y and x that the blur looks at."""
_BLUR_NM = 5.0
_CRISTA_NM = 46.0


def image(seed: int, place: Place, cells: Cells, bodies: Bodies, dark: Bodies) -> F32:
    """The stain before imaging, 0 (dark) to 1 (bright), axes ZYX."""
    section = place.voxel_size[0]
    traits = cells.seeds.traits.astype(np.float32)[cells.cell]
    shade: F32 = 0.66 + 0.16 * (traits[..., GREY] - 0.5)
    shade += 0.055 * value_noise(seed, 300, place, (60.0, 34.0, 34.0))
    shade += 0.045 * value_noise(seed, 301, place, (110.0, 90.0, 90.0))
    cytoplasm = (bodies.inside < -8) & (dark.inside < -8)
    shade -= 0.24 * _reticulum(seed, place) * cytoplasm * (cells.depth > 24)
    busy = value_noise(seed, 302, place, 420.0) + 0.25 * traits[..., KIND]
    shade -= 0.30 * vesicles(seed, cells, cytoplasm & (busy > 0.28) & (cells.depth > 20))
    matrix = _matrix(seed, place, bodies, section) + 0.12 * (traits[..., MATRIX] - 0.5)
    shade = _filled(shade, bodies, matrix, rim=0.16)
    shade = _filled(shade, dark, _lysosome(seed, place), rim=0.30)
    return _membranes(seed, place, cells, traits[..., MYELIN], shade, section)


def _filled(shade: F32, bodies: Bodies, filling: F32, rim: float) -> F32:
    """Puts bodies with a dark bounding membrane into the cytoplasm."""
    made = np.where(bodies.inside > 0, filling, shade)
    border = np.exp(np.float32(-0.5) * np.square((bodies.inside - 5) / np.float32(7)))
    mixed: F32 = made * (1 - border) + np.float32(rim) * border
    return mixed


def _matrix(seed: int, place: Place, bodies: Bodies, section: float) -> F32:
    """The inside of mitochondria: grey matrix, striped by cristae across the long axis."""
    bend = value_noise(seed, 310, place, 120.0) * 26 + value_noise(seed, 311, place, 50.0) * 6
    phase = (bodies.along + bend) * np.float32(2 * np.pi / _CRISTA_NM)
    stripes = np.maximum(np.sin(phase), np.float32(-0.2))
    # A thick section averages stripes that do not run along z.
    contrast = 0.17 / (1 + (section / 90.0) ** 2)
    patchy = 0.75 + 0.5 * value_noise(seed, 312, place, 130.0)
    filling: F32 = 0.44 - contrast * stripes * np.clip(patchy, 0.15, 1.2)
    filling += 0.03 * value_noise(seed, 313, place, 30.0)
    return filling


def _lysosome(seed: int, place: Place) -> F32:
    """The inside of dark bodies: as dark as mitochondria, blotched instead of striped."""
    blotches: F32 = 0.36 + 0.14 * value_noise(seed, 320, place, 75.0)
    return blotches + 0.06 * value_noise(seed, 321, place, 28.0)


def _reticulum(seed: int, place: Place) -> F32:
    """Thin winding sheets: where a noise field crosses zero, here and there."""
    scale: NM = (320.0, 190.0, 190.0)
    field = value_noise(seed, 330, place, scale)
    there = np.clip(value_noise(seed, 331, place, 500.0) * 3 - 0.3, 0, 1)
    sheets: F32 = np.exp(np.float32(-0.5) * np.square(field / np.float32(0.045))) * there
    return sheets


def _membranes(
    seed: int, place: Place, cells: Cells, myelin: NDArray[np.float32], shade: F32, section: float
) -> F32:
    """Cell membranes, thickened at synapses; a few cells are wrapped in dark lamellae."""
    wall = smeared(cells.depth, cells.tilt, 8.5, section)
    synapse = np.clip(value_noise(seed, 340, place, 330.0) * 4 - 2.0, 0, 1)
    density = smeared(cells.depth, cells.tilt, 22.0, section) * synapse
    lamellae = np.exp(-cells.depth / 45) * (0.75 + 0.25 * np.sin(cells.depth * (2 * np.pi / 17)))
    darkness = np.maximum(np.maximum(wall, 0.9 * density), lamellae * (myelin > 0.93))
    made: F32 = shade * (1 - darkness) + np.float32(0.12) * darkness
    return made


def microscope(seed: int, place: Place, ideal: F32) -> NDArray[np.uint8]:
    """What the detector makes of the stain: uint8, right but for HALO voxels along y and x."""
    from scipy.ndimage import gaussian_filter

    sigmas = (0.0, *(max(0.45, _BLUR_NM / size) for size in place.voxel_size[1:]))
    # At most HALO voxels of reach, whatever the voxel size.
    seen: F32 = gaussian_filter(ideal, sigmas, mode="nearest", radius=(0, HALO, HALO))
    stain = value_noise(seed, 400, place, (2500.0, 1600.0, 1600.0))
    seen = np.float32(0.5) + (seen - np.float32(0.5)) * (1 + np.float32(0.14) * stain)
    seen += 0.07 * value_noise(seed, 401, place, (4000.0, 2300.0, 2300.0))
    origin = np.zeros(1, np.int64)
    sections = place.indices(0)
    # Cut sections differ in thickness and stain; a milled block does so much less.
    jitter = 0.05 if place.voxel_size[0] > 20 else 0.015
    offset = (uniform(seed, 402, sections, origin, origin) - 0.5) * 2 * jitter + 0.5
    gain = 1 + (uniform(seed, 403, sections, origin, origin) - 0.5) * 3 * jitter
    seen -= np.float32(0.5)
    seen *= gain.astype(np.float32)
    seen += offset.astype(np.float32)
    # Shot noise grows with the signal; the detector adds its own.
    grain = np.sqrt(np.maximum(seen, 0.02)) * np.float32(0.05) + np.float32(0.012)
    seen += grain * voxel_noise(seed, 404, place)
    return np.clip(np.rint(seen * 255), 0, 255).astype(np.uint8)
