"""Node executables."""
