"""Text to tokens to embeddings: a frozen Hugging Face encoder, or one trained from scratch with its own subwords."""

import functools
import hashlib
import json
import zlib
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn

from models.layers import Encoder, lengths_to_mask
from runtime.errors import first_line

DEFAULT_TEXT_ENCODER = "bert-base-multilingual-cased"
SCRATCH = "scratch"
MAX_TOKENS = 256
# Texts that tell tokenizers of one vocabulary apart: capitals, accents in two forms, digits, marks, another script.
_PROBES = ["Hello, WORLD 42!", "\u00c7a co\u00fbte 3,50 \u20ac", "E\u0301te\u0301", "\u4f60\u597d  don't"]
BEGIN, END, PAD = "[CLS]", "[SEP]", "[PAD]"  # of the tokenizers that are trained here
VOCAB_SIZE = 8000  # the default of their largest number of subwords


class PretrainedTextEncoder:
    """A frozen Hugging Face encoder and its tokenizer; `name`: its name on the hub, or its folder. Its weights stay out
    of checkpoints.

    Raises ValueError if it cannot read texts.
    """

    def __init__(self, name: str, tokenizer: Any, model: nn.Module) -> None:
        self.name, self.tokenizer, self.model = name, tokenizer, model.eval().requires_grad_(False)
        if len(tokenizer) <= len(set(tokenizer.all_special_ids)):  # transformers makes up an empty one
            raise ValueError("could not be loaded (its tokenizer's files are missing)")
        try:
            width = self.encode(_PROBES)[0].shape[-1]
        except Exception as error:  # a decoder, or a tokenizer that cannot pad: each fails in a way of its own
            raise ValueError(f"cannot read texts ({first_line(error)})") from None
        if width != getattr(model.config, "hidden_size", None):
            raise ValueError("does not tell its width (hidden_size)")

    def __deepcopy__(self, memo: dict) -> "PretrainedTextEncoder":
        return self  # frozen: the average of a model's weights shares it

    @functools.cached_property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that differ where a weight or the tokenizer differs."""
        vocabulary, tokens = sorted(self.tokenizer.get_vocab().items()), self.tokenizer(_PROBES)["input_ids"]
        digest = hashlib.sha256(json.dumps([vocabulary, tokens]).encode())
        for name, weight in sorted(self.model.state_dict().items()):
            content = memoryview(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
            digest.update(f"{name} {tuple(weight.shape)} {zlib.crc32(content)}".encode())  # quick: a BERT has 0.7 GB
        return digest.hexdigest()[:12]

    @property
    def max_tokens(self) -> int:
        """The maximum number of tokens that are read of a text."""
        return min(self.tokenizer.model_max_length, MAX_TOKENS)

    def count_tokens(self, texts: list[str]) -> list[int]:
        """The tokens of each text, those beyond `max_tokens` included."""
        return [len(ids) for ids in self.tokenizer(texts)["input_ids"]]

    @property
    def dim(self) -> int:
        return self.model.config.hidden_size

    @property
    def module(self) -> nn.Module:
        return self.model

    @torch.no_grad()
    def encode(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Texts -> token embeddings [B,L,C] and mask [B,L]."""
        tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt")
        tokens = tokens.to(self.model.device)
        return self.model(**tokens).last_hidden_state, tokens["attention_mask"].bool()


@dataclass(frozen=True)
class ScratchTextConfig:
    """What builds a `ScratchTextEncoder`. It contains the tokenizer as JSON, so the checkpoint needs no other file."""

    tokenizer: str
    dim: int = 256
    num_layers: int = 2
    num_heads: int = 4
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.dim % (2 * self.num_heads):
            raise ValueError(f"scratch_dim {self.dim} must be a multiple of {2 * self.num_heads}")


def train_tokenizer(texts: list[str], vocab_size: int = VOCAB_SIZE) -> str:
    """A byte-level BPE tokenizer (no unknown character) learnt on texts, lower-cased; returned as JSON."""
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase(), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BEGIN, END],
        min_frequency=2,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A {END}", special_tokens=[(name, tokenizer.token_to_id(name)) for name in (BEGIN, END)]
    )
    return tokenizer.to_str()


class ScratchTextEncoder(nn.Module):
    """A small transformer over subwords, trained together with the stage that uses it."""

    def __init__(self, config: ScratchTextConfig) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = Tokenizer.from_str(config.tokenizer)
        self.embedding = nn.Embedding(self.tokenizer.get_vocab_size(), config.dim)
        self.encoder = Encoder(config.dim, config.num_heads, config.num_layers, config.dropout)
        self.norm = nn.LayerNorm(config.dim)

    max_tokens = MAX_TOKENS

    def count_tokens(self, texts: list[str]) -> list[int]:
        """The tokens of each text, those beyond `max_tokens` included."""
        return [len(encoding.ids) for encoding in self.tokenizer.encode_batch(texts)]

    @property
    def dim(self) -> int:
        return self.config.dim

    @property
    def module(self) -> nn.Module:
        return self

    def encode(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Texts -> token embeddings [B,L,C] and mask [B,L]."""
        ids = [encoding.ids[: self.max_tokens] for encoding in self.tokenizer.encode_batch(texts)]
        device = self.embedding.weight.device
        mask = lengths_to_mask(torch.tensor([len(row) for row in ids]))
        padded = torch.zeros(mask.shape, dtype=torch.long)
        padded[mask] = torch.tensor([token for row in ids for token in row])
        mask = mask.to(device)
        return self.norm(self.encoder(self.embedding(padded.to(device)), mask)), mask


TextEncoder = PretrainedTextEncoder | ScratchTextEncoder
