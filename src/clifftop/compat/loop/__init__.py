"""Private steps for a loop that somebody else wrote: ``backward()``, then ``optimizer.step()``.

The module's outputs reach the loop as leaves of a new graph, so that ``loss.backward()`` stops at them
and no parameter ever gets a gradient that was not clipped and noised. Before the optimiser steps, the
gradients at these leaves become per-example gradients of the parameters, exactly, since a backward
pass is linear in the gradient that it starts from.
"""

from clifftop.compat.loop.attach import Attachment, Batches, Options, Seeds, attach, detach
from clifftop.compat.loop.data_loader import PrivateDataLoader
from clifftop.compat.loop.errors import LoopError

__all__ = ["Attachment", "Batches", "LoopError", "Options", "PrivateDataLoader", "Seeds", "attach", "detach"]
