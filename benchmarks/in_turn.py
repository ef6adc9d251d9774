"""Commands of the project one after the other in one process, which imports PyTorch once; under torchrun, in several.

    ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 benchmarks/in_turn.py commands.txt

Each line of the file is a command as a shell has it, without `python`. The first one that fails ends all.
"""

import importlib
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from runtime import errors


def main() -> None:
    for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
        script, *flags = shlex.split(line)
        sys.argv = [script, *flags]
        errors.run(importlib.import_module(script.removesuffix(".py")).main)


if __name__ == "__main__":
    main()
