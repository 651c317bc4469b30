"""Figures: pure functions from arrays to Matplotlib figures."""
