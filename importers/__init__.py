"""How recordings of others become a data set: videos, pose files and arrays of other tools. Without torch."""
