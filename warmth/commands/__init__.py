"""The verbs of `warmth`, one file each. They may import everything."""
