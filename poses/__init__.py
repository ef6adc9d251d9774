"""Poses as arrays: their layout, files, features, statistics and pictures. Knows nothing of networks."""
