"""Evaluation: metrics with confidence intervals on held-out images, calibration, robustness, and the report page."""
