"""Poses and their texts: layout, files, features, statistics and pictures. Knows nothing of networks."""
