"""Many tensors as few flat buffers: a collective on one large buffer is quicker than on many small ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

_NARROW = (torch.float16, torch.bfloat16)


def in_buckets(
    tensors: Sequence[Tensor],
    reduce: Callable[[Tensor], None],
    *,
    device_for: Callable[[torch.device], torch.device],
    bucket_bytes: int,
) -> None:
    """Call ``reduce``, which works in place on a flat tensor, on all of ``tensors``.

    Tensors that follow each other and share dtype and device are copied into one buffer of at most
    ``bucket_bytes``; a larger one is a bucket of its own and, where it is contiguous, is not copied.
    Half-precision tensors are added in float32.

    Args:
        tensors: replaced in place.
        reduce: the collective, on one flat buffer.
        device_for: where a tensor of some device is to lie for ``reduce``.
        bucket_bytes: the largest buffer of more than one tensor.
    """
    for bucket in _buckets(tensors, bucket_bytes):
        first = bucket[0]
        dtype = torch.float32 if first.dtype in _NARROW else first.dtype
        device = device_for(first.device)
        if len(bucket) == 1 and first.is_contiguous() and (dtype, device) == (first.dtype, first.device):
            reduce(first.view(-1))
            continue
        flat = torch.cat([tensor.reshape(-1) for tensor in bucket]).to(dtype=dtype, device=device)
        reduce(flat)
        for tensor, part in zip(bucket, flat.split([t.numel() for t in bucket]), strict=True):
            tensor.copy_(part.view(tensor.shape))


def _buckets(tensors: Sequence[Tensor], limit: int) -> Iterator[list[Tensor]]:
    """Runs of tensors of one dtype and device, each within the limit unless it is a single tensor."""
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        alike = bucket and (bucket[0].dtype, bucket[0].device) == (tensor.dtype, tensor.device)
        if bucket and not (alike and size + tensor.nbytes <= limit):
            yield bucket
            bucket = []
            size = 0
        bucket.append(tensor)
        size += tensor.nbytes
    if bucket:
        yield bucket
