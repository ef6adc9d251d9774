"""The back-translator writes what it was taught, whatever batch a clip is in, and beams find likelier texts only."""

import numpy as np
import pytest
import torch

from evaluation.back_translation import BackTranslator
from evaluation.clips import Clip
from models.layers import lengths_to_mask
from models.pose_to_text import PoseToText, PoseToTextConfig, translation_loss
from models.text_encoder import train_tokenizer
from models.whole_batch import Draws
from poses import layout
from train_pose_to_text import draw_unseen_hands, loss

TEXTS = ["good morning", "thank you", "how are you", "my name is", "again", "you"]
LENGTHS = torch.tensor([11, 14, 9, 16, 8, 13])


@pytest.fixture(scope="module")
def model(statistics):
    torch.manual_seed(0)
    config = PoseToTextConfig(
        train_tokenizer(TEXTS, 300),
        hidden_dim=32,
        num_heads=4,
        encoder_layers=1,
        decoder_layers=1,
        dropout=0.0,
        max_tokens=16,
    )
    return PoseToText(config, statistics).eval()


@pytest.fixture(scope="module")
def clips():
    """Six clips [6,16,214], padding that must not matter, and their mask."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(len(TEXTS), 16, layout.POSE_DIM, generator=generator), lengths_to_mask(LENGTHS)


@pytest.fixture(scope="module")
def taught(model, clips):
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    model.train()
    for _ in range(80):
        optimizer.zero_grad()
        translation_loss(model, *clips, TEXTS).backward()
        optimizer.step()
    return model.eval().requires_grad_(False)


def text_score(model: PoseToText, pose: torch.Tensor, mask: torch.Tensor, text: str) -> float:
    """Mean log-probability of a text's subwords."""
    tokens, _ = model.tokenize([text])
    log_p = model.decode(tokens[:, :-1], *model.encode(pose, mask)).log_softmax(-1)
    return float(log_p.gather(2, tokens[:, 1:, None]).mean())


@pytest.mark.parametrize("num_beams", [1, 4])
def test_it_learns_to_read_six_clips_one_by_one_and_together(taught, clips, num_beams):
    pose, mask = clips
    assert taught.translate(pose, mask, num_beams) == TEXTS
    alone = [
        taught.translate(pose[n : n + 1, :length], mask[n : n + 1, :length], num_beams)[0]
        for n, length in enumerate(LENGTHS)
    ]
    assert alone == TEXTS


def test_the_likelihood_of_a_text_is_that_of_its_subwords_and_highest_with_its_own_clip(taught, clips):
    pose, mask = clips
    sums, counts = taught.log_likelihoods(pose, mask, TEXTS)
    alone = [text_score(taught, pose[n : n + 1], mask[n : n + 1], text) for n, text in enumerate(TEXTS)]
    torch.testing.assert_close(sums / counts, torch.tensor(alone))
    assert counts.tolist() == [len(taught.tokenizer.encode(text).ids) - 1 for text in TEXTS]
    wrong, _ = taught.log_likelihoods(pose.roll(1, 0), mask.roll(1, 0), TEXTS)
    assert (sums > wrong).all()


def test_padding_changes_nothing(taught, clips):
    pose, mask = clips
    spoilt = torch.where(mask[..., None], pose, 1e3)
    loss = translation_loss(taught, pose, mask, TEXTS)
    torch.testing.assert_close(translation_loss(taught, spoilt, mask, TEXTS), loss)
    one = translation_loss(taught, pose[:1, : LENGTHS[0]], mask[:1, : LENGTHS[0]], TEXTS[:1])
    torch.testing.assert_close(translation_loss(taught, pose[:1], mask[:1], TEXTS[:1]), one)


def test_a_clip_without_a_text_teaches_nothing(taught, clips):
    pose, mask = clips
    batch = {"pose": pose, "pose_mask": mask, "text": ["Good morning!", "", "...", *TEXTS[3:]]}
    known = [0, 3, 4, 5]
    alone = {"pose": pose[known], "pose_mask": mask[known], "text": [TEXTS[n] for n in known]}
    draws = Draws.of("abcdef")
    torch.testing.assert_close(loss(taught, batch, draws), loss(taught, alone, draws))
    assert loss(taught, {**batch, "text": [""] * len(TEXTS)}, draws)["loss"] == 0


def test_no_subword_sees_a_later_one(model, clips):
    pose, mask = clips
    tokens, _ = model.tokenize(["how are you"])
    changed = tokens.clone()
    changed[:, -2] = model.end
    clip, clip_mask = model.encode(pose[:1], mask[:1])
    before, after = (model.decode(t, clip, clip_mask) for t in (tokens, changed))
    torch.testing.assert_close(before[:, :-2], after[:, :-2])
    assert not torch.allclose(before[:, -2], after[:, -2])


def test_one_beam_is_greedy(taught, clips):
    """Against taking the likeliest subword by hand, on clips that it was not taught."""
    pose, mask = clips[0].flip(0) * 0.7, clips[1].flip(0)
    for n in range(len(pose)):
        clip, clip_mask = taught.encode(pose[n : n + 1], mask[n : n + 1])
        tokens = [taught.begin]
        while tokens[-1] != taught.end and len(tokens) <= taught.config.max_tokens:
            logits = taught.decode(torch.tensor([tokens]), clip, clip_mask)[0, -1]
            logits[[taught.pad, taught.begin]] = -torch.inf
            tokens.append(int(logits.argmax()))
        greedy = taught.tokenizer.decode(tokens).strip()
        assert taught.translate(pose[n : n + 1], mask[n : n + 1]) == [greedy]


def test_wide_beams_find_no_less_likely_texts(taught, clips):
    """And likelier ones of some clips that it was not taught: its own, backwards."""
    pose, mask = clips[0].flip(1), clips[1].flip(1)
    gains = []
    for n in range(len(pose)):
        one = pose[n : n + 1], mask[n : n + 1]
        greedy, wide = (text_score(taught, *one, taught.translate(*one, num_beams)[0]) for num_beams in (1, 16))
        gains.append(float(wide - greedy))
    assert min(gains) >= -1e-5
    assert max(gains) > 0.1


def test_a_text_that_is_not_finished_is_chosen_only_where_none_is(model, clips, monkeypatch):
    """Two beams: one ends at once, the other never does and is likelier by the subword."""
    letter, size = model.tokenizer.token_to_id("y"), model.to_logits.out_features

    def decode(tokens, clip, clip_mask):
        log_p = torch.full((*tokens.shape, size), -30.0)
        first = tokens.shape[1] == 1
        log_p[..., letter], log_p[..., model.end] = (-0.4, -1.1) if first else (-0.001, -30.0)
        return log_p

    monkeypatch.setattr(model, "decode", decode)
    pose, mask = clips
    assert model.translate(pose[:1], mask[:1], num_beams=2) == [""]
    assert model.translate(pose[:1], mask[:1]) == ["y" * model.config.max_tokens]


def test_a_text_that_is_too_long_has_no_likelihood(model, clips, statistics):
    translator = BackTranslator(model, statistics, num_beams=1)
    poses = [pose[:length].numpy() for pose, length in zip(clips[0], LENGTHS, strict=True)]
    read = [Clip(pose, pose == pose) for pose in poses[:2]]
    values = translator.likelihoods(read, ["you " * 30, "you"])
    assert np.isnan(values[0]).all()
    assert np.isfinite(values[1]).all()


def test_long_texts_are_cut_and_still_end(model):
    tokens, mask = model.tokenize(["you " * 30, "you"])
    assert tokens.shape[1] == model.config.max_tokens
    assert tokens[0, -1] == model.end
    assert mask.sum(1).tolist() == [16, int((tokens[1] != model.pad).sum())]


def test_a_width_that_heads_cannot_share_is_refused():
    with pytest.raises(ValueError, match="hidden_dim 30"):
        PoseToTextConfig("", hidden_dim=30, num_heads=4)


def test_an_unseen_hand_is_drawn_in_three_clips_of_four_and_nothing_else_is_touched(model):
    """Half of the clips never saw their left hand; the drawn one hangs on the wrist, still or as another clip moves."""
    clips, frames = 400, 6
    generator = torch.Generator().manual_seed(0)
    pose = torch.randn(clips, frames, layout.POSE_DIM, generator=generator)
    seen = torch.ones(pose.shape, dtype=torch.bool)
    seen[::2, :, layout.LEFT_HAND] = False
    seen[1, 0, layout.LEFT_HAND] = False  # unseen for a frame only
    mask = torch.ones(clips, frames, dtype=torch.bool)
    mask[:, -1], pose[:, -1] = False, 0.0
    other = torch.randn(pose.shape, generator=generator)
    batch = {"pose": pose, "seen": seen, "pose_mask": mask, "other": other}
    before = pose.clone()
    drawn = draw_unseen_hands(model, batch, Draws.of(list(map(str, range(clips)))))
    assert torch.equal(pose, before)
    changed = (drawn != pose)[:, :-1]
    hand = torch.zeros(layout.POSE_DIM, dtype=torch.bool)
    hand[layout.LEFT_HAND] = True
    assert not changed[..., ~hand].any()
    assert not changed[1::2].any()
    assert not drawn[:, -1].any()
    touched = changed[::2].any(2).any(1)
    assert 0.65 < touched.float().mean() < 0.85
    relative = model.hand_frame.relative(drawn)[::2, :-1, : hand.sum()][touched]
    still = relative.std(1).amax(1) < 1e-3
    assert 0.35 < still.float().mean() < 0.65
