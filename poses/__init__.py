"""Poses and their texts: layout, files, features, statistics and pictures. Does not depend on networks."""
