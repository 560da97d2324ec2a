"""Estimates and intervals from checked rows; nothing here knows the page."""
