"""Graph capture: the private step as one graph of plain operations, run as it is or compiled."""

from clifftop.capture.graphs import Graphs
from clifftop.capture.step import PrivateStep
from clifftop.capture.summing import CapturedSumming
from clifftop.capture.tracing import Captured, capture

__all__ = ["Captured", "CapturedSumming", "Graphs", "PrivateStep", "capture"]
