"""Figures: how they are inked, and one function for each."""
