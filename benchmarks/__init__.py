"""Benchmarks of this library, run from the repository root: ``python -m benchmarks NAME ...``."""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")  # one core each; numpy reads it when it is first imported
