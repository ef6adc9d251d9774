"""What every part stands on: errors, processes, whole files, the processor, flags. Knows nothing of signing."""
