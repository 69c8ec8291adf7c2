"""One thread per test process: small networks gain nothing from more, and the machine may be shared."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by torch when it is first imported
