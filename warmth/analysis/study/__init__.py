"""The authors' released files become the same frames, and the published values."""
