"""Train the back-translator, pose -> text, with which evaluate.py reads generated clips back.

    python train_pose_to_text.py --data_dir data/phoenix14t --output_dir runs/pose_to_text --batch_size 32 \\
        --num_epochs 100 --learning_rate 5e-4 --max_seq_len 120 --num_workers 4

It learns from real clips of train alone. best_model.pt is the epoch with the best dev BLEU: the mean of BLEU-1…4, or of
those orders that the dev texts have. poses.texts.normalize_text normalises all texts. Writes best_model.pt, last.pt,
log.jsonl and TensorBoard events to OUTPUT_DIR.
"""

import argparse
import dataclasses
import math

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from checkpoints import POSE_TO_TEXT
from dataset import Batch, Item, PoseDataset
from evaluation.formulas import bleu_formula
from evaluation.text_metrics import text_scores, unit_of
from models.pose_to_text import PoseToText, PoseToTextConfig, translation_loss
from models.text_encoder import train_tokenizer
from models.whole_batch import Draws
from poses import layout
from poses.files import SPLITS
from poses.interpolation import resample
from poses.splits import load_split, load_statistics
from poses.texts import normalize_text, require_texts
from runtime import cpu, errors
from runtime.arguments import add_data_arguments, add_dataclass_arguments, build_dataclass, make_parser, positive_int
from training.arguments import add_sequence_arguments
from training.engine import prepare_run, split_loader, train
from training.pictures import readings
from training.resuming import made_with
from training.settings import TrainSettings
from training.state import Losses, Stage

HANDS = (layout.LEFT_HAND, layout.RIGHT_HAND)


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    add_data_arguments(parser)
    add_sequence_arguments(parser, long_clips="resample", augmentation=1.0)
    add_dataclass_arguments(parser, "training", TrainSettings, num_epochs=100, learning_rate=5e-4)
    add_dataclass_arguments(parser, "back-translator", PoseToTextConfig)
    parser.add_argument(
        "--vocab_size", type=positive_int, default=2000, help="maximum number of subwords (default 2000)"
    )
    return parser.parse_args()


class WithOtherClips(PoseDataset):
    """Clips of train. One that never shows a hand gets `other` [T,214], another clip, resampled to its length.

    (seed, epoch, index) alone decide which other clip.
    """

    def __getitem__(self, key: tuple[int, int]) -> Item:
        item, (index, epoch) = super().__getitem__(key), key
        if all(item["seen"][:, hand].any() for hand in HANDS):
            return {**item, "other": np.zeros_like(item["pose"])}
        step = np.random.default_rng([self.seed, epoch, index, 1]).integers(max(1, len(self) - 1))
        other = super().__getitem__(((index + 1 + int(step)) % len(self), epoch))["pose"]
        return {**item, "other": resample(other, len(item["pose"]))}


def draw_unseen_hands(model: PoseToText, batch: Batch, draws: Draws) -> torch.Tensor:
    """The poses [B,T,214], where three clips of four get a hand in place of one that they never show.

    A model without presence (--no-presence), or another system, may draw a hand that the real clips never show. A
    reader that knows one-handed signs by the missing hand would misread such clips. So the wrist gets some hand: a
    still one of a random shape, or that of another clip.
    """
    pose, seen = batch["pose"].clone(), batch["seen"]
    body, half = pose[..., layout.BODY], layout.HANDS_DIM // 2
    still = draws.normal(1, 2 * half) * 1.5 * draws.uniform(1, 1)
    drawn = torch.where(draws.uniform(1, 1) < 0.5, still, model.hand_frame.relative(batch["other"]))
    drawn = model.hand_frame.absolute(body, drawn)
    for hand, part in zip(HANDS, (slice(0, half), slice(half, 2 * half)), strict=True):
        never = (~seen[..., hand]).all(2).all(1)[:, None, None]
        pose[..., hand] = torch.where(never & (draws.uniform(1, 1) < 0.75), drawn[..., part], pose[..., hand])
    return pose * batch["pose_mask"][..., None]


def loss(model: PoseToText, batch: Batch, draws: Draws) -> Losses:
    """The translation loss of the clips that have a text; an empty one would teach that signs say nothing."""
    pose = draw_unseen_hands(model, batch, draws) if model.training else batch["pose"]
    return {"loss": translation_loss(model, pose, batch["pose_mask"], list(map(normalize_text, batch["text"])))}


def score(accelerator: Accelerator, model: PoseToText, loader: DataLoader) -> dict[str, float]:
    """BLEU and word error rate of greedy decoding; over all processes, by the sums that they are made from.

    Both count what evaluate.py counts: words, or characters where the split's texts are written without spaces.
    """
    unit = unit_of(loader.dataset.pack.texts)  # of the whole split, not of a batch
    sums = np.zeros(14)  # 12 counts of BLEU, word errors, words
    for batch, (_, own) in zip(loader, loader.batch_sampler.clips(), strict=True):
        if own == 0:
            continue
        read = model.translate(batch["pose"].to(accelerator.device), batch["pose_mask"].to(accelerator.device))
        scores = text_scores(read, batch["text"], unit)
        sums += np.concatenate([scores["bleu_counts"].sum(0), np.nansum(scores["word_errors"], axis=0)])
    sums = accelerator.reduce(torch.tensor(sums, dtype=torch.float32, device=accelerator.device)).cpu().double().numpy()
    bleu = [float(bleu_formula(order)(sums[None, :-2])[0]) for order in range(1, 5)]
    defined = [value for value in bleu if math.isfinite(value)]
    return {"score": sum(defined) / max(1, len(defined)), "wer": float(sums[-2] / max(1.0, sums[-1]))}


def main() -> None:
    args = parse_arguments()
    cpu.tune()
    settings = build_dataclass(TrainSettings, args)
    accelerator = prepare_run(settings, args.hidden_dim)

    packs = {split: load_split(args.data_dir, split, args.cache_dir, args.skip_bad) for split in SPLITS}
    statistics = load_statistics(args.data_dir, args.cache_dir, packs["train"])
    texts = [normalize_text(text) for text in packs["train"].texts]
    for split, pack in packs.items():
        require_texts(args.data_dir, split, pack.texts, "the back-translator learns", normalize_text)
    if not all(texts) and accelerator.is_main_process:
        print(f"{texts.count('')} of {len(texts)} train texts have no letter or digit, so they teach nothing")
    config = build_dataclass(
        PoseToTextConfig, args, tokenizer=train_tokenizer(texts, args.vocab_size), max_frames=args.max_seq_len
    )

    def loader(split: str) -> DataLoader:
        kind, augmentation = (WithOtherClips, args.augmentation) if split == "train" else (PoseDataset, 0.0)
        with_text = [n for n, text in enumerate(packs[split].texts) if normalize_text(text)]  # others would count as 0
        dataset = kind(
            packs[split], statistics, args.max_seq_len, args.long_clips, settings.seed, augmentation, chosen=with_text
        )
        return split_loader(dataset, split, settings, accelerator)

    train_loader, dev_loader = loader("train"), loader("dev")
    model = PoseToText(config, statistics)
    if cut := sum(model.too_long(texts)):
        print(f"{cut} of {len(texts)} train texts have more than {config.max_tokens} subwords: their ends are not read")
    stage = Stage(
        POSE_TO_TEXT,
        model,
        dataclasses.asdict(config),
        loss,
        statistics,
        score=score,
        made_with=made_with(args, packs["train"], packs["dev"]),
        pictures=readings(dev_loader.dataset),
        record=args.record,
    )
    train(accelerator, stage, train_loader, dev_loader, lambda: loader("test"), settings)


if __name__ == "__main__":
    errors.run(main)
