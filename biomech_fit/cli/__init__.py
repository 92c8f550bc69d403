"""The command line: biomech-fit."""
