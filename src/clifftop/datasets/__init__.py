"""Data sets as plain NumPy arrays: the paper's Gaussian clusters, and Fashion-MNIST from IDX files."""

from clifftop.datasets.base import ArrayDataset, Rows, RowsDataset, TrainTest
from clifftop.datasets.fashion_mnist import fashion_mnist
from clifftop.datasets.gaussian_clusters import gaussian_clusters

__all__ = ["ArrayDataset", "Rows", "RowsDataset", "TrainTest", "fashion_mnist", "gaussian_clusters"]
