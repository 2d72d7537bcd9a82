"""The bugs, by the part of a training that is wrong."""
