"""Before anything else: one OpenMP thread, as the runners set it, so that numbers repeat."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_COLOR", "1")
