"""Stage 0: check a data set, pack it for fast reading, and write the train statistics that normalise poses.

    python data_preparation.py --data_dir data/phoenix14t

Writes DATA_DIR/normalization_stats.npz (mean and std of each of the 214 numbers, from train alone) and
DATA_DIR/cache/ (each split in one memory-mapped file; pass --cache_dir where DATA_DIR is not to be written to).
"""

import argparse
from pathlib import Path

from poses.files import SPLITS
from poses.splits import load_split
from poses.statistics import STATISTICS_FILE, compute_statistics
from runtime import errors
from runtime.arguments import add_data_arguments, natural_int

DATA_DIR = "data"  # the default of --data_dir


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser, default=DATA_DIR)
    parser.add_argument("--num_workers", type=natural_int, default=4, help="processes that read clips")
    args = parser.parse_args()

    packs = {
        split: load_split(args.data_dir, split, args.cache_dir, args.skip_bad, args.num_workers) for split in SPLITS
    }
    clips = ((item["pose"], item["seen"].astype(bool)) for item in packs["train"].stream())
    statistics = compute_statistics(clips, {"split": "train", "skip_bad": args.skip_bad})
    path = Path(args.data_dir) / STATISTICS_FILE
    statistics.save(path)
    for split, pack in packs.items():
        lengths = pack.lengths("pose")
        print(
            f"{split}: {len(pack)} clips, {len(set(pack.texts))} texts, "
            f"{lengths.sum()} frames ({lengths.min()}-{lengths.max()} a clip)"
        )
    print(f"wrote {path} (fingerprint {statistics.fingerprint})")


if __name__ == "__main__":
    errors.run(main)
