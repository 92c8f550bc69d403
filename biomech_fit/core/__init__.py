"""Pure computation: body, cameras, residuals, window solver, gait. No ROS, no files, no clock."""
