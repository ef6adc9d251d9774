"""Dev clips as pictures for TensorBoard, frames side by side: each clip above what the model makes of it.

The engine asks for them now and then, and knows nothing of poses: a stage's `pictures` is a function from the averaged
model to names and images. Drawing takes nothing but the data and the model, so training is the same without pictures.
"""

import numpy as np
import torch
from torch import Tensor

from dataset import PoseDataset
from generation import Generator, finished
from models.autoencoder import PoseAutoencoder
from models.pose_to_text import PoseToText
from models.text_to_latent import TextToLatent
from poses.render import draw_sheet
from poses.texts import says_something
from training.latents import LatentSource
from training.state import Pictures

NUM_CLIPS, NUM_FRAMES, WIDTH = 4, 8, 112
Rows = list[tuple[str, np.ndarray]]  # labels, and poses [T,214] in data units


def spread_out(num_clips: int) -> list[int]:
    """The indices of a few clips, over the whole split."""
    return np.unique(np.linspace(0, num_clips - 1, min(NUM_CLIPS, num_clips)).round().astype(int)).tolist()


def draw(clip_id: str, rows: Rows) -> tuple[str, np.ndarray]:
    return f"dev/{clip_id}", np.asarray(draw_sheet(rows, NUM_FRAMES, width=WIDTH, smoothing=2))


def _normalised(dataset: PoseDataset, index: int, device: torch.device) -> tuple[dict, Tensor, Tensor, np.ndarray]:
    """A clip's item, its pose [1,T,214] and mask [1,T] for a model, and its pose to draw, unseen numbers left out."""
    item = dataset[(index, 0)]
    pose = torch.from_numpy(item["pose"])[None].to(device)
    shown = np.where(item["seen"], dataset.statistics.denormalize(item["pose"]), np.nan)
    return item, pose, torch.ones(pose.shape[:2], dtype=torch.bool, device=device), shown


def reconstructions(dev: PoseDataset) -> Pictures:
    """The pictures of stage 1: real clips and their reconstructions."""

    @torch.no_grad()
    def pictures(model: PoseAutoencoder) -> list[tuple[str, np.ndarray]]:
        drawn = []
        for index in spread_out(len(dev)):
            item, pose, mask, real = _normalised(dev, index, next(model.parameters()).device)
            present = torch.from_numpy(item["present"])[None].to(pose.device)
            decoded = model.decode(model.encode(pose, present, mask), mask)
            made, presence = (part[0].float().cpu().numpy() for part in decoded)
            made = finished(made, presence, dev.statistics, len(made))
            drawn.append(draw(item["id"], [(f"real: {item['text']}", real), ("reconstructed", made)]))
        return drawn

    return pictures


def generations(source: LatentSource) -> Pictures:
    """The pictures of stages 2 and 3: real clips, and what the model signs for their texts at their lengths."""

    def pictures(model: TextToLatent) -> list[tuple[str, np.ndarray]]:
        dev = source.clips("dev")
        indices = [i for i in spread_out(len(dev)) if says_something(dev.texts[i])]
        indices = [i for i in indices if model.truncation_message([dev.texts[i]]) is None]
        real = [np.where(dev.field("seen", i), dev.field("pose", i), np.nan) for i in indices]
        texts, lengths = [dev.texts[i] for i in indices], [len(pose) for pose in real]
        named = source.signers("dev")
        signers = [named.get(dev.ids[i]) for i in indices]
        generator = Generator(source.autoencoder, source.statistics, model)
        made = generator.generate(texts, indices, lengths, signers=signers)
        return [
            draw(dev.ids[i], [(f"real: {text}", pose), ("generated", clip.pose)])
            for i, text, pose, clip in zip(indices, texts, real, made, strict=True)
        ]

    return pictures


def readings(dev: PoseDataset) -> Pictures:
    """The pictures of the back-translator: real clips, and the texts that it reads."""

    def pictures(model: PoseToText) -> list[tuple[str, np.ndarray]]:
        drawn = []
        for index in spread_out(len(dev)):
            item, pose, mask, real = _normalised(dev, index, next(model.parameters()).device)
            (read,) = model.translate(pose, mask)
            drawn.append(draw(item["id"], [(f"{item['text']} / read: {read}", real)]))
        return drawn

    return pictures
