"""What runs in the child process of inference. Imports torch; the service itself does not."""

import os

from biosegment.inference.child import heap

# OpenMP reads this once, when torch is loaded. Threads that spin while they wait make steps several
# times slower as soon as other processes want the same cores, which is the rule on one machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
heap.keep_pages()
