"""What is measured of trained networks: calibration, and one file an analysis."""
