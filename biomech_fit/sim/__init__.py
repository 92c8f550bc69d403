"""A simulated walking subject in front of simulated cameras. The forward path is MuJoCo C and OpenCV, apart from the solver."""
