"""Helpers under Opacus' paths."""
