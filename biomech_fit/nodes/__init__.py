"""Node executables."""

from biomech_fit.config import threads as threads
