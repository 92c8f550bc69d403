"""One BLAS thread. Import this before numpy."""

import os

# The solver's matrices are small. On a machine with other work, OpenBLAS' threads wait for each other at every factorisation: on two busy cores a frame
# took 180 ms instead of 8. Whoever sets the variable wins.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
