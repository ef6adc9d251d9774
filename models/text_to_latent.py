"""What surrounds every network from text to latents: text encoder, length predictor, and the latents' scale."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.consistency_distillation import Student, StudentConfig
from models.latent_flow_matcher import LatentFlowMatcher
from models.latent_predictor import LatentPredictor
from models.layers import ScaledLatents
from models.text_encoder import ScratchTextEncoder, TextEncoder
from models.whole_batch import at_least_fp32, clip_mean, masked_mean

# Each has `sample(cond, cond_mask, mask, seeds, settings, table)`, `resolve`, `describe` and `time_table`.
Network = LatentPredictor | LatentFlowMatcher | Student


class LengthPredictor(nn.Module):
    """c [B,L,C] -> a log-normal distribution over the clip's frames; its median is the sum of each token's frames.

    Because it is a sum over tokens, it can tell the length of an unseen sentence whose words it knows.
    """

    def __init__(self, cond_dim: int, hidden_dim: int = 128) -> None:
        super().__init__()
        self.token = nn.Sequential(
            nn.LayerNorm(cond_dim), nn.Linear(cond_dim, hidden_dim), nn.GELU(), nn.Linear(hidden_dim, 1)
        )
        self.log_spread = nn.Parameter(torch.tensor(-1.0))
        self.log_scale = nn.Parameter(torch.tensor(2.3))  # about ten frames per token at the start

    def forward(self, cond: Tensor, cond_mask: Tensor) -> Tensor:
        """The median length in frames [B], a real number."""
        frames = F.softplus(at_least_fp32(self.token(cond).squeeze(-1))) * cond_mask  # bf16: no odd numbers above 256
        return self.log_scale.exp() * frames.sum(1).clamp_min(1e-3)

    def loss(self, cond: Tensor, cond_mask: Tensor, frames: Tensor, labelled: Tensor | None = None) -> Tensor:
        """Negative log-likelihood of log(frames) [B] under the predicted normal distribution, scalar.

        It leaves out the constant ½ log 2π, so its values can be below 0. Only clips with a text, `labelled` [B] bool,
        count; by default all do.
        """
        error = frames.float().log() - self(cond, cond_mask).log()
        spread = self.log_spread.clamp(-3.0, 1.0)
        loss = 0.5 * (error / spread.exp()) ** 2 + spread  # [B]
        return clip_mean(loss) if labelled is None else masked_mean(loss, labelled)


class TextToLatent(ScaledLatents):
    """Text -> latents of the autoencoder. `net` is a `LatentPredictor`, a `LatentFlowMatcher` or its `Student`.

    signers: names of the signers of the train clips, if the data set has them; each generated clip then follows one
    signer. Each signer has a learnt vector, which is added to every token of the text; dropping a text drops its
    signer, too. A frozen pretrained text encoder is not part of the weights; one trained from scratch is.
    """

    def __init__(self, net: Network, text_encoder: TextEncoder, signers: Sequence[str] = ()) -> None:
        super().__init__(net.config.latent_dim)
        self.net = net
        self.signers = tuple(signers)
        self.signer_vectors = nn.Parameter(0.02 * torch.randn(len(signers), text_encoder.dim)) if signers else None
        self.scratch = text_encoder if isinstance(text_encoder, ScratchTextEncoder) else None
        self._frozen = None if self.scratch is not None else (text_encoder,)  # a tuple, so as not to be a submodule
        self.length = LengthPredictor(text_encoder.dim)

    @property
    def text_encoder(self) -> TextEncoder:
        return self.scratch if self.scratch is not None else self._frozen[0]

    def embed_text(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Texts -> c [B,L,C] and its mask [B,L] on this model's device."""
        cond, cond_mask = self.text_encoder.encode(texts)
        return cond.to(self.latent_mean.device), cond_mask.to(self.latent_mean.device)

    def by_signer(self, cond: Tensor, signers: Sequence[str]) -> Tensor:
        """The text embeddings cond [B,L,C] for each of `signers` [B].

        An unknown name gets the mean of all signers' vectors.
        """
        if self.signer_vectors is None:
            return cond
        known = [self.signers.index(name) if name in self.signers else -1 for name in signers]
        vectors = torch.cat([self.signer_vectors, self.signer_vectors.mean(0, keepdim=True)])  # the last: their mean
        return cond + vectors[known][:, None].to(cond.dtype)

    def draw_signer(self, seed: int) -> str | None:
        """A signer, chosen by a seed; None if no signers are known."""
        if not self.signers:
            return None
        return self.signers[int(np.random.default_rng([seed, len(self.signers)]).integers(len(self.signers)))]

    def truncation_message(self, texts: list[str]) -> str | None:
        """A message about the first text that is too long for the encoder; None if there is none."""
        limit = self.text_encoder.max_tokens
        for text, count in zip(texts, self.text_encoder.count_tokens(texts), strict=True):
            if count > limit:
                return f"the text '{text[:40]}…' has {count} tokens, of which the text encoder reads {limit}"
        return None

    def predict_frames(self, cond: Tensor, cond_mask: Tensor) -> Tensor:
        """The predicted median of the clip's length in frames, [B] long, at least 1."""
        return self.length(cond, cond_mask).round().long().clamp_min(1)


def make_student(teacher: TextToLatent, num_layers: int) -> TextToLatent:
    """A student around the teacher's text encoder, length predictor and scale; only its velocity net is trained."""
    encoder = teacher.text_encoder
    if isinstance(encoder, ScratchTextEncoder):
        encoder = ScratchTextEncoder(dataclasses.replace(encoder.config, dropout=0.0))
    net = Student(StudentConfig.of_teacher(teacher.net.config, num_layers))
    student = TextToLatent(net, encoder, teacher.signers)
    shared = {name: value for name, value in teacher.state_dict().items() if not name.startswith("net.")}
    student.load_state_dict(shared, strict=False)
    student.net.start_from(teacher.net)
    student.requires_grad_(False).net.velocity_net.requires_grad_(True)
    return student
