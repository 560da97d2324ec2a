"""Found by Hydra through the `hydra_plugins` namespace."""
