"""The command line: biomech-fit."""

from biomech_fit.config import threads as threads
