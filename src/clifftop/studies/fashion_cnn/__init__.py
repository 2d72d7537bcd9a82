"""A small convolutional network on Fashion-MNIST: the lab on real images."""

from clifftop.studies.fashion_cnn.preset import FASHION_CNN

__all__ = ["FASHION_CNN"]
