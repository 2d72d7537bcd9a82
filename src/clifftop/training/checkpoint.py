"""The file of a checkpoint: whole or not there, read without running any code, checked bit by bit."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

FORMAT = "clifftop checkpoint"
VERSION = 1


class CheckpointError(Exception):
    """A checkpoint that cannot be written or used; one line that names the file and says what to do."""


def write(path: Path, state: Mapping[str, Any]) -> None:
    """Write ``state`` to ``path``, in one move: whatever happens, the old file or the new one is there.

    The file is `torch.save`'s, readable by `torch.load` with ``weights_only=True``, and holds a SHA-256 of
    its content. Only its owner may read it: it holds the run's seed, and with it the noise.

    Raises:
        CheckpointError: it could not be written, or holds what cannot be loaded without running code; the
            file that was there is untouched.
    """
    content = {"format": FORMAT, "version": VERSION, **state}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            torch.save(content | {"digest": digest(content)}, file)
            file.flush()
            os.fsync(file.fileno())
        torch.load(temporary, weights_only=True, mmap=True)
        temporary.replace(path)
        _sync_folder(path.parent)
    except (pickle.PickleError, AttributeError, TypeError) as error:
        raise CheckpointError(
            f"{path}: a checkpoint must hold tensors and plain values only, found {_global_in(error)}; the "
            "file that was there is untouched; keep such objects out of the state of the module, the "
            "optimiser and the scheduler"
        ) from error
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or _first_line(error)
        raise CheckpointError(
            f"{path}: cannot be written ({reason}); the file that was there is untouched, make room or "
            "choose another folder"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path) -> dict[str, Any]:
    """What `write` wrote, on the CPU.

    Raises:
        CheckpointError: there is no such file, it is another kind of file, of another version, or damaged.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: there is no checkpoint; train from the start, or name another"
        ) from None
    # torch.load raises whatever its unpickler stumbles over in a damaged or foreign file.
    except Exception as error:
        raise CheckpointError(
            f"{path}: must be a whole checkpoint of Trainer.save, found a damaged or another kind of file "
            f"({_first_line(error)}); nothing was loaded, use an older checkpoint"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: must be a checkpoint of Trainer.save, found another kind of file; nothing was loaded"
        )
    if content.get("version") != VERSION:
        raise CheckpointError(
            f"{path}: must be of version {VERSION}, found version={content.get('version')}; "
            "load it with the clifftop that wrote it"
        )
    noted = content.pop("digest", None)
    if noted != digest(content):
        raise CheckpointError(
            f"{path}: must be as it was written, found that its content is not what its digest says; "
            "nothing was loaded, use an older checkpoint"
        )
    return content


def digest(content: object) -> str:
    """SHA-256 over every key, plain value and tensor bit of a nested state, in order.

    >>> digest({"a": torch.zeros(2)}) == digest({"a": torch.zeros(3)})
    False
    """
    sha = hashlib.sha256()
    _update(sha, content)
    return sha.hexdigest()


def _update(sha: Any, value: object) -> None:
    if isinstance(value, Tensor):
        sha.update(f"tensor {value.dtype} {tuple(value.shape)}\n".encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        if flat.numel():
            sha.update(flat.view(torch.uint8).numpy().data)
    elif isinstance(value, Mapping):
        sha.update(f"mapping {len(value)}\n".encode())
        for key, item in value.items():
            _update(sha, key)
            _update(sha, item)
    elif isinstance(value, (list, tuple)):
        sha.update(f"sequence {len(value)}\n".encode())
        for item in value:
            _update(sha, item)
    else:
        sha.update(f"{type(value).__name__} {value!r}\n".encode())


def _sync_folder(folder: Path) -> None:
    """Make the new name reach the disk, where the system lets a folder be synced."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def _global_in(error: Exception) -> str:
    words = [word for word in str(error).replace("`", " ").split() if "." in word and word[0].isalpha()]
    named = next((word for word in words if word.count(".") >= 1 and not word.startswith("torch.load")), None)
    return f"an object of {named.rstrip('.')}" if named else "another kind of object"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
