"""What every part uses: errors, processes, atomic files, the processor, flags. Does not depend on signing."""
