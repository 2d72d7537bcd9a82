"""Differentially private training for PyTorch with the whole privacy-utility frontier in view."""

__version__ = "0.1.0"
