"""Finished runs become checked frames."""
