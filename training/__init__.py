"""How every stage is trained: the loop, its settings, its run folder, and what stages 2 and 3 share."""
