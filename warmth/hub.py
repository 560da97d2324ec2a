"""Files of hub models: fetched once, by one process, with progress, before ranks, shards or engines
start.

So a download of many gigabytes is no stall of a rank, and a model that needs a token or a licence
is one line.
"""

from __future__ import annotations

import sys
from typing import Any

from warmth.errors import UserError, one_line
from warmth.schemas import Model

# config, tokenizer, template, weights
WANTED = (
    "*.json",
    "*.safetensors",
    "*.model",
    "*.txt",
    "*.jinja",
)
# other formats of the same weights: folders, and a provider's own files
UNWANTED = (
    "*/*",
    "consolidated*",
)
GB = 1e9


def fetch(model: Model) -> None:
    """Bring a hub model's files into the local cache; nothing is done for other models, or with
    HF_HUB_OFFLINE=1.

    Raises:
        UserError: the model is gated and there is no token, or its account has no access; it does
            not exist; or the hub cannot be reached and files are missing.
    """
    if model.path or model.kind != "hub" or not model.hub_id:
        return
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    if constants.HF_HUB_OFFLINE:
        return
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        number, size = missing_files(model)
        if number:
            print(
                f"fetching {model.hub_id}: {number} files, {size / GB:,.1f} GB",
                file=sys.stderr,
                flush=True,
            )
            snapshot_download(
                model.hub_id,
                revision=model.revision,
                allow_patterns=list(WANTED),
                ignore_patterns=list(UNWANTED),
            )
            print(f"fetched {model.hub_id}", file=sys.stderr, flush=True)
    except UserError:
        raise
    except Exception as error:  # the hub's client raises a dozen kinds
        if not is_refusal(error) and are_files_here(model):
            return
        raise UserError(hub_line(model, error)) from error


def missing_files(model: Model) -> tuple[int, int]:
    """Count the files, and their bytes, that the hub has for a model and the local cache has
    not.
    """
    from fnmatch import fnmatch

    from huggingface_hub import HfApi, try_to_load_from_cache

    info = HfApi().model_info(str(model.hub_id), revision=model.revision, files_metadata=True)
    number = 0
    size = 0
    for file in info.siblings or []:
        matches = any(fnmatch(file.rfilename, pattern) for pattern in WANTED)
        if not matches or any(fnmatch(file.rfilename, pattern) for pattern in UNWANTED):
            continue
        if not isinstance(
            try_to_load_from_cache(str(model.hub_id), file.rfilename, revision=info.sha), str
        ):
            number += 1
            size += file.size or 0
    return number, size


def are_files_here(model: Model) -> bool:
    """Say whether the local cache has a model's config, with which a run can go on while the hub is
    out of reach.
    """
    from huggingface_hub import try_to_load_from_cache

    return isinstance(
        try_to_load_from_cache(str(model.hub_id), "config.json", revision=model.revision), str
    )


def is_refusal(error: BaseException | None) -> bool:
    """Say whether the hub answered, and refused."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    return isinstance(error, RepositoryNotFoundError | RevisionNotFoundError)


def hub_line(model: Model, error: BaseException) -> str:
    """Return the line a user reads if the hub does not give a model's files: what is missing, and
    what to do.
    """
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    named = f"model={model.name}: {model.hub_id}"
    page = f"{constants.ENDPOINT}/{model.hub_id}"
    chain: list[Any] = [error, error.__cause__, error.__context__]
    if any(isinstance(link, GatedRepoError) for link in chain):
        if get_token() is None:
            return (
                f"{named} is gated and no token is set: accept its licence at {page}, then set "
                f"HF_TOKEN"
            )
        return (
            f"{named} is gated and the account of HF_TOKEN has no access: accept its licence "
            f"at {page}"
        )
    if any(isinstance(link, RevisionNotFoundError) for link in chain):
        return f"{named} has no revision {model.revision}: see {page}/commits"
    if any(isinstance(link, RepositoryNotFoundError) for link in chain):
        if get_token() is None:
            return f"{named} is not at {page}, it may be private: set HF_TOKEN"
        return f"{named} is not at {page}, or the account of HF_TOKEN may not see it"
    return (
        f"{named} is not in the local cache and {constants.ENDPOINT} cannot be reached "
        f"({one_line(error)[:120]})"
    )
