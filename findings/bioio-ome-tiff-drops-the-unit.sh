#!/usr/bin/env bash
# bioio-ome-tiff 1.4.0 (bioio 3.6.0, ome-types 0.7.0, Python 3.11)
#
# Guess:  the voxel size of an OME-TIFF comes in micrometres, as bioio's reader of ImageJ files
#         gives it, or with its unit, as bioio's reader of OME-Zarr gives it.
# Seen:   `physical_pixel_sizes` is the bare number of the file, whatever its unit, and the unit
#         in `dimension_properties` is None. So 4.6 nm and 4.6 µm cannot be told apart, and a
#         volume of 4.6 nm that is taken for micrometres is a thousand times too large.
# To do:  read PhysicalSizeXUnit from the OME-XML; the unit is µm where none is given.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    bioio==3.6.0 bioio-ome-tiff==1.4.0 ome-types==0.7.0 numpy==2.4.6 tifffile==2026.3.3
cd "$folder"
"$folder/env/bin/python" - <<'PY'
import logging

import bioio_ome_tiff
import numpy as np
import tifffile
from bioio import BioImage

logging.disable(logging.WARNING)
stack = np.zeros((5, 60, 70), np.uint8)
seen = {}
for unit in ("nm", "µm"):
    sizes = {"PhysicalSizeZ": 50.0, "PhysicalSizeY": 4.6, "PhysicalSizeX": 4.6}
    units = {f"PhysicalSize{axis}Unit": unit for axis in "ZYX"}
    metadata = {"axes": "ZYX", **sizes, **units}
    tifffile.imwrite("stack.ome.tif", stack, photometric="minisblack", metadata=metadata)
    image = BioImage("stack.ome.tif", reader=bioio_ome_tiff.Reader)
    size, said = image.physical_pixel_sizes, image.dimension_properties
    seen[unit] = (size.Z, size.Y, size.X, said.Z.unit, said.Y.unit, said.X.unit)
    print(f"file says {unit}: sizes {seen[unit][:3]}, units {seen[unit][3:]}")
assert seen["nm"] == seen["µm"] == (50.0, 4.6, 4.6, None, None, None), "the behaviour has changed"
PY
