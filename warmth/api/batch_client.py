"""The provider's batch endpoint: files handed over, batches created, lines fetched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from warmth.api.calls import Server
from warmth.api.transport import patiently
from warmth.schemas import Api
from warmth.store import objects_in

if TYPE_CHECKING:
    import openai
    from openai.types import Batch

T = TypeVar("T")
ENDPOINT = "/v1/chat/completions"
WINDOW = "24h"


class BatchClient:
    """Everything done at the provider, each step safe to repeat."""

    def __init__(self, server: Server, settings: Api, client: openai.OpenAI):
        self._settings = settings
        self._client = client
        self._key = server.key()

    def upload(self, name: str, path: Path) -> str:
        """Hand a batch's lines over; return the file's id. A file uploaded twice costs nothing."""

        def work() -> str:
            with path.open("rb") as stream:
                uploaded = self._client.files.create(
                    file=(f"warmth-{name}.jsonl", stream), purpose="batch"
                )
            return uploaded.id

        return self._patiently(work, "batch file")

    def open(self, name: str, file: str) -> str:
        """Return the id of the batch of this name; a new one is created if there is none."""
        return self._patiently(lambda: self.find(name) or self.create(name, file), "batch")

    def find(self, name: str) -> str | None:
        """Find the batch that a process created without living to note it down."""
        for batch in islice(self._client.batches.list(limit=100), 1000):
            if (batch.metadata or {}).get("warmth") == name and batch.status != "failed":
                return batch.id
        return None

    def create(self, name: str, file: str) -> str:
        """Create a batch; repeated only after `find` has looked."""
        batch = self._client.batches.create(
            input_file_id=file,
            endpoint=ENDPOINT,
            completion_window=WINDOW,
            metadata={"warmth": name},
        )
        return batch.id

    def look(self, batch_id: str) -> Batch:
        """Fetch a batch as it is now."""
        return self._patiently(lambda: self._client.batches.retrieve(batch_id), "batch")

    def rows(self, batch: Batch) -> Iterator[dict[str, Any]]:
        """Yield the lines that came back, good and bad.

        One that is no JSON object did not come back.
        """
        for file in filter(None, (batch.output_file_id, batch.error_file_id)):
            yield from objects_in(self._fetch(file).splitlines())

    def _fetch(self, file: str) -> bytes:
        return self._patiently(lambda: self._client.files.content(file).read(), "batch result")

    def _patiently(self, work: Callable[[], T], what: str) -> T:
        return patiently(work, self._settings, self._key, what)
