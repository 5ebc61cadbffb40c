import resource
import subprocess
import sys

import pytest

from biosegment.inference.child import heap

# Importing the package keeps pages, for every task of the child. The script touches as much as a
# feature map of a large forward takes, again and again.
SCRIPT = """
import resource
import numpy as np
from biosegment.inference.child import heap
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(64 << 20, np.uint8)
before = faults()
for _ in range(10):
    np.ones(64 << 20, np.uint8)
print(faults() - before)
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
kept = resident()
heap.give_back()
print(kept - resident())
"""


@pytest.mark.skipif(heap._library() is None, reason="not the GNU C library")
def test_pages_stay_from_forward_to_forward_and_are_given_back():
    command = [sys.executable, "-c", SCRIPT]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    faults, given_back = (int(line) for line in made.stdout.split())
    assert faults < 10 * (64 << 20) // resource.getpagesize() / 100
    assert given_back > 60 << 20
