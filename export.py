"""Export a checkpoint as a folder to share: weights as safetensors, configuration as JSON, and a model card.

    python export.py --checkpoint runs/student/best_model.pt --output_dir exported/student \\
        --evaluation runs/evaluation_flow --data_name PHOENIX-2014-T --data_license "non-commercial research" \\
        --license cc-by-nc-sa-4.0 --language de gsg

The checkpoint may be of any stage. The folder holds model.safetensors, config.json, and README.md with the front matter
of the Hugging Face hub. Every other command accepts it in place of a checkpoint, with the same results. The figures of
--evaluation must be this checkpoint's own. What only training needs (such as last.pt's optimiser) is left out.
"""

import argparse
import json
import re
from pathlib import Path

from checkpoints import SCRIPT_OF, export_checkpoint, read_checkpoint, require_exportable
from evaluation.model_card import Owner, model_card
from evaluation.report import read_report
from poses.files import SPLITS
from runtime import errors
from runtime.arguments import make_parser, refuse_without
from runtime.errors import UserError
from runtime.flags import RUN_CONFIG_FILE, read_config
from training.run_folder import LOG


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="best_model.pt or last.pt of any stage")
    parser.add_argument("--output_dir", type=Path, required=True, help="the new folder")
    parser.add_argument("--overwrite", action="store_true", help="replace a folder that an export made")
    parser.add_argument(
        "--evaluation", type=Path, nargs="+", default=[], help="output folders of evaluate.py, for the card's figures"
    )
    parser.add_argument("--title", type=one_line, help="the card's title (default: the folder's name)")
    parser.add_argument("--data_name", type=one_line, help="what the model was trained on")
    parser.add_argument("--data_license", type=one_line, help="the licence or the terms of that data")
    parser.add_argument(
        "--license",
        type=license_identifier,
        default="unknown",
        help="the model's licence as the Hugging Face hub names it, such as cc-by-nc-4.0 or other (default unknown)",
    )
    parser.add_argument("--license_name", type=one_line, help="name of the licence, with --license other")
    parser.add_argument("--license_link", type=one_line, help="address of its text, with --license other")
    parser.add_argument(
        "--language", type=one_line, nargs="+", default=[], help="codes of the languages, sign languages too: de gsg"
    )
    args = parser.parse_args()
    refuse_without("--license other", args.license == "other", ("--license_name", "--license_link"), parser, args)
    return args


def one_line(text: str) -> str:
    if not text.isprintable() or not 0 < len(text) <= 500:
        raise argparse.ArgumentTypeError("not a text of one line and at most 500 letters")
    return text


def license_identifier(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,60}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no identifier of a licence, such as mit, cc-by-4.0 or other")
    return text


def find_reports(folders: list[Path]) -> dict[Path, dict]:
    """The reports of all splits in the folders, by their paths."""
    reports = {}
    for folder in folders:
        paths = [path for path in (folder / f"metrics_{split}.json" for split in SPLITS) if path.exists()]
        if not paths:
            raise UserError(f"{folder}: no metrics_SPLIT.json; name a folder that evaluate.py wrote")
        reports |= {path: read_report(path) for path in paths}
    return reports


def find_call(checkpoint: Path, kind: str) -> dict | None:
    """The flags that trained a checkpoint, where its run left them beside it: never beside a folder of an export."""
    try:
        if checkpoint.is_dir():
            raise UserError(f"{checkpoint}: an exported folder, which holds none; export the run's own best_model.pt")
        call = read_config(checkpoint.parent / RUN_CONFIG_FILE, SCRIPT_OF[kind])
        return call | {"changes": find_changes(checkpoint.parent / LOG)}
    except UserError as error:
        print(f"the card does not say with which flags the model was trained ({error})")
        return None


def find_changes(log: Path) -> list[tuple[int, dict]]:
    """The settings that a run changed when it resumed, {name: [before, after]}, with the first epoch of each change."""
    if not log.is_file():
        return []
    try:
        records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        return [
            (int(record["epoch"]), {name: (before, after) for name, (before, after) in record["changed"].items()})
            for record in records
            if "changed" in record
        ]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(f"{log}: not the log of a training") from None


def main() -> None:
    args = parse_arguments()
    require_exportable(args.output_dir, args.overwrite)
    content = read_checkpoint(args.checkpoint, *SCRIPT_OF)
    title = args.title or args.output_dir.resolve().name
    owner = Owner(
        title, args.license, args.license_name, args.license_link, args.data_name, args.data_license, args.language
    )
    card = model_card(content, owner, find_reports(args.evaluation), find_call(args.checkpoint, content["kind"]))
    if args.license == "unknown":
        print("the card says that the licence is unknown, so nobody may use the model; pass --license")
    export_checkpoint(args.output_dir, content, card)
    print(f"wrote {args.output_dir} ({content['kind']}, fingerprint {content['fingerprint']})")


if __name__ == "__main__":
    errors.run(main)
