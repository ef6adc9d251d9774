"""Whether hands and face are in time: a classifier of windows (Chung & Zisserman 2016, "Out of time")."""

import torch
from torch import Tensor, nn

WIDTH = 64  # half of it, or less dropout, does worse on unseen clips


class SyncClassifier(nn.Module):
    """Windows of hands [B,C,W] and face [B,C',W] -> the logit that both start at the same frame [B]."""

    def __init__(self, hands_dim: int, face_dim: int) -> None:
        super().__init__()
        self.hands, self.face = (
            nn.Sequential(
                nn.Dropout(0.5),
                nn.Conv1d(channels, WIDTH, 3, padding=1),
                nn.GELU(),
                nn.Dropout(0.3),
                nn.Conv1d(WIDTH, WIDTH, 3, padding=1),
                nn.GELU(),
            )
            for channels in (hands_dim, face_dim)
        )
        self.out = nn.Sequential(
            nn.Dropout(0.5), nn.Linear(3 * WIDTH, WIDTH), nn.GELU(), nn.Dropout(0.3), nn.Linear(WIDTH, 1)
        )

    def compare(self, h: Tensor, f: Tensor) -> Tensor:
        """Features h of the hands and f of the face, [B,WIDTH,W] each -> the logit [B]."""
        return self.out(torch.cat([(h * f).mean(2), h.mean(2), f.mean(2)], dim=1)).squeeze(1)

    def forward(self, hands: Tensor, face: Tensor) -> Tensor:
        """hands [B,C,W], face [B,C',W], W frames -> the logit [B]."""
        return self.compare(self.hands(hands), self.face(face))
