"""Readers of files that are already on the machine: each is a function that gives train and test rows.

A reader learns nothing from the rows: scaling and categories are declared, because a mean, a largest
value or a list of categories that is read off private rows is a release that no epsilon here pays for.
"""

from clifftop.datasets.readers.errors import DataFileError
from clifftop.datasets.readers.idx_files import idx
from clifftop.datasets.readers.numpy_files import npy, npz
from clifftop.datasets.readers.safetensors_files import safetensors
from clifftop.datasets.readers.scikit_learn_data import scikit_learn
from clifftop.datasets.readers.table_files import csv, parquet

__all__ = ["DataFileError", "csv", "idx", "npy", "npz", "parquet", "safetensors", "scikit_learn"]
