"""Pose [B,T,214] to text: a sign translation transformer (Camgöz et al. 2020) that reads generated clips back.

B clips, T frames, M = ceil(T / stride) positions of the encoder, L subwords, H hidden_dim, K beams.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from models.hands import HandFrame
from models.layers import (
    DecoderLayer,
    Encoder,
    LayerContext,
    frame_positions,
    key_mask,
    lengths_to_mask,
    require_head_sizes,
    rotary,
)
from models.text_encoder import BEGIN, END, PAD
from models.whole_batch import Dropout, masked_mean
from poses import layout
from poses.statistics import Statistics
from runtime.config import described


@dataclass(frozen=True)
class PoseToTextConfig:
    """What builds a `PoseToText`. It contains the tokenizer as JSON, so the checkpoint needs no other file."""

    tokenizer: str
    hidden_dim: int = described(256, "width of the network")
    num_heads: int = described(8, "attention heads of each layer")
    encoder_layers: int = described(3, "layers that read the clip")
    decoder_layers: int = described(3, "layers that write the text")
    frame_stride: int = described(2, "frames per encoder position")
    max_frames: int = 120
    max_tokens: int = described(64, "maximum subwords per text")
    dropout: float = described(0.3, "probability that training drops an activation")

    def __post_init__(self) -> None:
        require_head_sizes(self.hidden_dim, self.num_heads)


class PoseToText(nn.Module):
    """Normalised pose to the log-probabilities of the next subword; `translate` writes whole texts."""

    def __init__(self, config: PoseToTextConfig, statistics: Statistics) -> None:
        super().__init__()
        H, self.config = config.hidden_dim, config
        self.tokenizer = Tokenizer.from_str(config.tokenizer)
        self.begin, self.end, self.pad = (self.tokenizer.token_to_id(name) for name in (BEGIN, END, PAD))
        self.hand_frame = HandFrame(statistics)
        self.embed = nn.Conv1d(
            layout.POSE_DIM + layout.HANDS_DIM,
            H,
            kernel_size=2 * config.frame_stride + 1,
            stride=config.frame_stride,
            padding=config.frame_stride,
        )
        self.encoder = Encoder(H, config.num_heads, config.encoder_layers, config.dropout)
        self.subwords = nn.Embedding(self.tokenizer.get_vocab_size(), H)
        self.decoder = nn.ModuleList(
            DecoderLayer(H, config.num_heads, H, config.dropout) for _ in range(config.decoder_layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(H) for _ in range(2))
        self.dropout = Dropout(config.dropout)
        self.to_logits = nn.Linear(H, self.tokenizer.get_vocab_size())

    def encode(self, pose: Tensor, mask: Tensor) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        """pose [B,T,214], mask [B,T] -> what each decoder layer attends to, and its mask [B,M]."""
        x = torch.cat([pose, self.hand_frame.relative(pose)], dim=-1) * mask[..., None]
        h = self.embed(x.transpose(1, 2)).transpose(1, 2)
        stride = self.config.frame_stride
        mask = lengths_to_mask((mask.sum(1) + stride - 1) // stride, h.shape[1])
        h = self.norms[0](self.encoder(self.dropout(F.gelu(h)), mask))
        return [layer.cross_attention.keys_values(h) for layer in self.decoder], mask

    def decode(self, tokens: Tensor, clip: list[tuple[Tensor, Tensor]], clip_mask: Tensor) -> Tensor:
        """tokens [B,L] -> logits of the subword after each, [B,L,V]; no subword sees a later one."""
        x = self.dropout(self.subwords(tokens))
        cos_sin = rotary(frame_positions(x), x.shape[-1] // self.config.num_heads)
        earlier = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        frames = key_mask(clip_mask)
        for layer, keys_values in zip(self.decoder, clip, strict=True):
            x = layer(x, None, LayerContext(earlier, cos_sin, keys_values, frames, cos_sin))  # [B,L,H]
        return self.to_logits(self.norms[1](x))

    def too_long(self, texts: list[str]) -> list[bool]:
        """Which texts have more subwords than the model reads and writes."""
        return [len(encoding.ids) > self.config.max_tokens for encoding in self.tokenizer.encode_batch(texts)]

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Texts to padded subwords [B,L] between BEGIN and END, and mask [B,L]; a text that is too long is cut."""
        rows = []
        for encoding in self.tokenizer.encode_batch(texts):
            ids = encoding.ids
            if len(ids) > self.config.max_tokens:
                ids = [*ids[: self.config.max_tokens - 1], self.end]
            rows.append(torch.tensor(ids))
        padded = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self.pad)
        mask = lengths_to_mask(torch.tensor([len(row) for row in rows]))
        device = self.to_logits.weight.device
        return padded.to(device), mask.to(device)

    @torch.no_grad()
    def log_likelihoods(self, pose: Tensor, mask: Tensor, texts: list[str]) -> tuple[Tensor, Tensor]:
        """pose [B,T,214] normalised, mask [B,T], B texts -> the log-likelihood [B] of each text given its clip, and the
        text's number of subwords [B], END included."""
        tokens, token_mask = self.tokenize(texts)
        log_p = self.decode(tokens[:, :-1], *self.encode(pose, mask)).float().log_softmax(-1)  # [B,L-1,V]
        of_text = log_p.gather(-1, tokens[:, 1:, None])[..., 0]  # [B,L-1]
        return (of_text * token_mask[:, 1:]).sum(1), token_mask[:, 1:].sum(1)

    @torch.no_grad()
    def translate(self, pose: Tensor, mask: Tensor, num_beams: int = 1) -> list[str]:
        """pose [B,T,214] normalised, mask [B,T] -> a list of B texts, by beam search over `num_beams`; 1 is greedy."""
        clip, clip_mask = self.encode(pose, mask)
        B, K, device = len(pose), num_beams, pose.device
        clip = [tuple(part.repeat_interleave(K, 0) for part in keys_values) for keys_values in clip]
        clip_mask = clip_mask.repeat_interleave(K, 0)
        tokens = torch.full((B * K, 1), self.begin, device=device)
        score = torch.full((B, K), -torch.inf, device=device)
        score[:, 0] = 0.0  # all beams start alike: only the first may branch
        done = torch.zeros(B * K, dtype=torch.bool, device=device)
        only_pad = torch.full((self.to_logits.out_features,), -torch.inf, device=device)
        only_pad[self.pad] = 0.0
        for _ in range(self.config.max_tokens):
            log_p = self.decode(tokens, clip, clip_mask)[:, -1].float().log_softmax(-1)  # [B*K,V]
            log_p[:, [self.pad, self.begin]] = -torch.inf
            log_p[done] = only_pad  # a finished text waits unchanged
            total = (score[..., None] + log_p.view(B, K, -1)).flatten(1)
            score, best = total.topk(K, dim=1)  # [B,K]
            beam = (best // log_p.shape[-1] + torch.arange(B, device=device)[:, None] * K).flatten()
            token = (best % log_p.shape[-1]).flatten()
            tokens = torch.cat([tokens[beam], token[:, None]], dim=1)
            done = done[beam] | (token == self.end)
            if done.all():
                break
        # The mean over subwords chooses among the finished, where there are any: a sum would favour short texts.
        lengths, done = (tokens[:, 1:] != self.pad).sum(1).view(B, K), done.view(B, K)
        mean = (score / lengths).masked_fill(done.any(1, keepdim=True) & ~done, -torch.inf)
        chosen = mean.argmax(1) + torch.arange(B, device=device) * K
        return [text.strip() for text in self.tokenizer.decode_batch(tokens[chosen].tolist())]


def translation_loss(
    model: PoseToText, pose: Tensor, mask: Tensor, texts: list[str], label_smoothing: float = 0.1
) -> Tensor:
    """Mean cross-entropy of each subword given the earlier ones: pose [B,T,214], mask [B,T], B texts -> scalar.

    Only clips with a text count; without any such clip the loss is 0.
    """
    tokens, token_mask = model.tokenize(texts)
    logits = model.decode(tokens[:, :-1], *model.encode(pose, mask))
    entropy = F.cross_entropy(
        logits.transpose(1, 2),
        tokens[:, 1:],
        reduction="none",
        label_smoothing=label_smoothing if model.training else 0.0,
    )
    has_text = torch.tensor([bool(text) for text in texts], device=token_mask.device)
    return masked_mean(entropy, token_mask[:, 1:] & has_text[:, None])
