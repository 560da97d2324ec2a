"""Keys and values of a batch in memory that is taken once. torch is imported here."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer


class Reserved(DynamicLayer):
    """One layer's keys and values, with room for every token that may come.

    The library's own layer copies all it holds for each new token, a tenth of a step at a hundred
    rows on a CPU.
    """

    def __init__(self, capacity: int):
        super().__init__()
        self.capacity, self.used = capacity, 0
        self.spread: Tensor | None = (
            None  # (B, T): which of the first states, of one row, stands where in which row
        )
        self._both: list[Tensor] = []

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Add states of (B, H, T, D) and return all of them."""
        if self.spread is not None:
            where = self.spread.to(key_states.device)
            self.spread = None
            key_states = laid_out(key_states, where)
            value_states = laid_out(value_states, where)
        if not self.is_initialized:
            self.dtype = key_states.dtype
            self.device = key_states.device
            self.is_initialized = True
            count = key_states.shape[0]
            self._both = [self._room(key_states, count), self._room(value_states, count)]
        start = self.used
        self.used += key_states.shape[-2]
        # Writing past the end would be silent: one token broadcasts to none.
        if self.used > self.capacity:
            raise RuntimeError(f"{self.used} tokens in a cache for {self.capacity}")
        for room, states in zip(self._both, (key_states, value_states), strict=True):
            room[:, :, start : self.used] = states
        return self._show()

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows alone."""
        new_rooms = []
        for old_room in self._both:
            room = self._room(old_room, len(indices))
            room[:, :, : self.used] = old_room[indices, :, : self.used]
            new_rooms.append(room)
        self._both = new_rooms
        self._show()

    def _room(self, like: Tensor, rows: int) -> Tensor:
        return like.new_empty((rows, like.shape[1], self.capacity, like.shape[3]))

    def _show(self) -> tuple[Tensor, Tensor]:
        keys, values = self._both
        self.keys = keys[:, :, : self.used]
        self.values = values[:, :, : self.used]
        return self.keys, self.values


def cache_for(config: Any, capacity: int) -> Cache:
    """Return a cache for so many tokens; the library's own where a model's layers are not all plain
    attention.
    """
    plain = DynamicCache(config=config)
    if not plain.layers or any(type(layer) is not DynamicLayer for layer in plain.layers):
        return plain
    return Cache(layers=[Reserved(capacity) for _ in plain.layers])


def reserved(cache: Cache) -> bool:
    """Tell whether all layers of a cache are ours."""
    return all(isinstance(layer, Reserved) for layer in cache.layers)


def select_rows(cache: Cache, rows: Tensor) -> None:
    """Keep these rows of a cache alone; the layers of a model may lie on several devices."""
    for layer in cache.layers:
        device = getattr(layer, "device", None)
        layer.batch_select_indices(rows if device is None else rows.to(device))


def laid_out(states: Tensor, where: Tensor) -> Tensor:
    """(1, H, N, D) states of N tokens, in the order (B, T) → (B, H, T, D)."""
    return states[0].index_select(1, where.flatten()).unflatten(1, where.shape).transpose(0, 1)
