"""`warmth compare`: paired differences between evaluations that any tool made, from its logs."""
