"""What does a change of a model's manner cost in truth? Fine-tune, evaluate, grade, compare."""

__version__ = "0.1.0"
