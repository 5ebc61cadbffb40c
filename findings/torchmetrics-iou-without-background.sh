#!/usr/bin/env bash
# torchmetrics 1.9.0 (torch 2.13.0, Python 3.11)
#
# Guess:  two ways to leave background out of an IoU agree: MulticlassJaccardIndex(ignore_index=0)
#         and segmentation.MeanIoU(include_background=False).
# Seen:   `ignore_index=0` leaves out the voxels whose truth is background, and with them every
#         false positive. A prediction that is foreground everywhere, on a truth of 4 % foreground,
#         has an IoU of 1.0 by the first and 0.04 by the second.
# To do:  never pass background as `ignore_index`: it is for voxels that nobody labelled. Take
#         average="none" and drop the first class, or MeanIoU(include_background=False).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.13.0 torchmetrics==1.9.0 numpy==2.4.6
"$folder/env/bin/python" - <<'PY'
import torch
from torchmetrics.classification import MulticlassJaccardIndex
from torchmetrics.segmentation import MeanIoU

truth = torch.zeros(1, 10, 10, dtype=torch.long)
truth[0, :2, :2] = 1
everywhere = torch.ones_like(truth)
ignoring = float(MulticlassJaccardIndex(2, ignore_index=0)(everywhere, truth))
without = float(MeanIoU(2, include_background=False, input_format="index")(everywhere, truth))
by_class = MulticlassJaccardIndex(2, average="none")(everywhere, truth).tolist()
print(f"ignore_index=0: {ignoring:.2f}; include_background=False: {without:.2f}; each: {by_class}")
assert round(ignoring, 6) == 1.0, "the behaviour has changed"
assert round(without, 6) == round(by_class[1], 6) == 0.04, "the behaviour has changed"
PY
