"""A figure has ink where the pose is, and none where nothing was seen."""

import numpy as np
import pytest

from poses import figure, layout


def signer(frames: int = 12) -> np.ndarray:
    """A stylised pose [T,214]: shoulders .3 apart, a right hand that rises, no left hand, a plain face."""
    keypoints = np.zeros((frames, 75, 2))
    body = {
        0: (0.5, 0.2),
        3: (0.54, 0.18),
        6: (0.46, 0.18),
        9: (0.52, 0.24),
        10: (0.48, 0.24),
        11: (0.65, 0.4),
        12: (0.35, 0.4),
        13: (0.7, 0.6),
        14: (0.3, 0.6),
        15: (0.7, 0.75),
        23: (0.6, 0.8),
        24: (0.4, 0.8),
    }
    for index, at in body.items():
        keypoints[:, index] = at
    grid = np.stack(np.meshgrid([0.0, 0.02, 0.04], np.linspace(0, -0.08, 7)), axis=-1).reshape(21, 2)
    root = np.stack([np.full(frames, 0.22), np.linspace(0.7, 0.4, frames)], axis=1)
    keypoints[:, layout.RIGHT_HAND_KEYPOINTS] = root[:, None] + grid
    keypoints[:, layout.RIGHT_WRIST] = root
    nmm = np.zeros((frames, 64))
    nmm[:, :17] = [0.27, 0.27, 0.17, 0.17, 0.27, 0.09, 0.09, 0.75, 0.75, 0.18, 0, 0, 0.1, 0.52, 0.09, 0.42, 0.67]
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False) + np.pi
    mouth = np.stack([0.26 * np.cos(angle), -0.1 * np.sin(angle)], axis=1)
    nmm[:, 24:] = mouth.reshape(-1)
    return layout.keypoints_to_frame(keypoints, nmm)


def pixels(pose: np.ndarray, t: int = -1, width: int = 200) -> np.ndarray:
    return np.asarray(figure.draw_frame(pose[t], figure.fit_views([pose])[0], width)).astype(int)


def coloured(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.abs(picture - colour).sum(-1) < 60


def place(pose: np.ndarray, point: tuple[float, float], width: int = 200) -> tuple[int, int]:
    """Row and column where an image point falls."""
    view = figure.fit_views([pose])[0]
    x, y = (np.array(point) - view.centre + view.half) * width / (2 * view.half)
    return round(y), round(x)


def test_ink_where_the_hand_is():
    pose = signer()
    picture = pixels(pose)
    row, column = place(pose, layout.frame_to_keypoints(pose[-1])[layout.RIGHT_HAND_KEYPOINTS].mean(0))
    hand = coloured(picture[:200], figure.HAND_COLOURS["right"])
    assert hand[row - 12 : row + 13, column - 12 : column + 13].sum() > 30
    hand[row - 20 : row + 21, column - 20 : column + 21] = False
    assert not hand.any()  # and nowhere else


def moved(pose: np.ndarray, by: tuple[float, float]) -> np.ndarray:
    """The pose with its right hand elsewhere, in image heights."""
    return pose + np.isin(np.arange(layout.POSE_DIM), np.r_[layout.RIGHT_HAND]) * np.resize(by, layout.POSE_DIM)


@pytest.mark.parametrize(("by", "wider"), [((0, 0), False), ((0, 0.4), True), ((-0.3, 0), True), ((0, -0.4), True)])
def test_the_view_holds_the_hands(by: tuple[float, float], wider: bool):
    pose = moved(signer(), by)
    view = figure.fit_views([pose])[0]
    hand = layout.frame_to_keypoints(pose)[:, layout.RIGHT_HAND_KEYPOINTS]
    assert (np.abs(hand - view.centre) < 1.05 * view.half).all()
    assert (view.half > 1.5 * view.shoulder_width) == wider
    assert coloured(pixels(pose)[:200], figure.HAND_COLOURS["right"]).any()


@pytest.mark.parametrize(("aspect", "wider"), [(1.0, False), (9 / 16, True)])
def test_the_view_holds_the_head_where_shoulders_are_narrow(aspect: float, wider: bool):
    """As of a wide recording that is drawn as a square: its heads are as high as ever, in narrower shoulders."""
    pose = signer()
    view = figure.fit_views([pose], aspect)[0]
    eyes = figure.visible_points(pose, aspect)[:, [layout.LEFT_EYE_OUTER, layout.RIGHT_EYE_OUTER]]
    assert (eyes[..., 1] - figure.FOREHEAD * view.shoulder_width > view.centre[1] - 1.001 * view.half).all()
    assert (view.half > 1.01 * figure.fit_views([pose])[0].half * aspect) == wider


def test_a_short_clip_is_shown_as_far_as_it_reaches_beside_a_long_one():
    raised, calm = moved(signer(), (0, -0.4)), np.repeat(signer(), 200, axis=0)
    hand = layout.frame_to_keypoints(raised)[:, layout.RIGHT_HAND_KEYPOINTS]
    view, _ = figure.fit_views([raised, calm])
    assert (np.abs(hand - view.centre) < 1.05 * view.half).all()


def test_clips_shown_together_have_one_size():
    near, far, absurd = (moved(signer(), (0, y)) for y in (0, 0.4, 1e6))
    sizes = [view.half / view.shoulder_width for view in figure.fit_views([near, far])]
    assert sizes[0] == sizes[1] > figure.fit_views([near])[0].half / 0.3
    assert figure.fit_views([absurd])[0].half <= 0.3 * figure.REACH


def test_the_hand_is_enlarged_below_the_figure():
    strip = pixels(signer())[200:]
    assert len(strip) == round(200 * figure.STRIP)
    for shade in figure.FINGER_COLOURS.values():
        assert coloured(strip, shade).sum() > 20


@pytest.mark.parametrize("nothing", [0.0, np.nan, 0.004])
def test_an_unseen_hand_is_not_drawn(nothing: float):
    pose = signer()
    pose[:, layout.RIGHT_HAND] = nothing
    picture = pixels(pose)
    assert not coloured(picture, figure.HAND_COLOURS["right"]).any()
    assert not coloured(picture, figure.HAND_COLOURS["left"]).any()
    assert figure.fit_views([pose])[0].hands == {}


def test_keypoints_at_zero_are_not_drawn():
    pose = signer()
    elbow = layout.keypoint_dims(np.array([layout.LEFT_ELBOW]))
    row, column = place(pose, (0.7, 0.6))
    assert coloured(pixels(pose)[row - 3 : row + 4, column - 3 : column + 4], figure.BODY_COLOUR).any()
    pose[:, elbow] = 0
    assert not coloured(pixels(pose)[row - 3 : row + 4, column - 3 : column + 4], figure.BODY_COLOUR).any()


@pytest.mark.parametrize(("gap", "drawn"), [(0.3, True), (0.5, False)])
def test_a_short_gap_between_arm_and_hand_is_bridged(gap: float, drawn: bool):
    """In shoulder widths of 0.3 each; a long gap is a fault that a picture shows."""
    pose = signer()
    wrist = layout.frame_to_keypoints(pose[-1])[layout.RIGHT_WRIST] + [0.0, 0.3 * gap]
    pose[:, layout.keypoint_dims(np.array([layout.RIGHT_WRIST]))] = wrist
    row, column = place(pose, wrist - [0.0, 0.15 * gap])
    assert coloured(pixels(pose)[row - 2 : row + 3, column - 2 : column + 3], figure.BODY_COLOUR).any() == drawn


def test_the_mouth_follows_its_features():
    plain, wide = signer(), signer()
    wide[:, layout.MOUTH_SHAPE] *= 1.5
    extents = []
    for pose in (plain, wide):
        pose[:, layout.RIGHT_HAND] = 0  # its colour is like that of the lips
        columns = np.flatnonzero(coloured(pixels(pose, width=800)[:800], figure.LIPS).any(0))
        extents.append(np.ptp(columns))
    assert extents[1] / extents[0] == pytest.approx(1.5, abs=0.2)  # the outline around the lips stays as it is


def test_far_outside_and_empty_poses_are_drawn_without_error():
    pose = signer()
    pose[:, layout.keypoint_dims(np.array([layout.LEFT_WRIST]))] = 1e6
    assert pixels(pose).shape == (324, 200, 3)
    assert pixels(np.zeros((3, 214))).min() == 255
    assert pixels(np.full((3, 214), np.nan)).min() == 255


def test_data_without_a_face_mesh_have_a_head():
    """Two eyes are enough for it; without them there is none."""
    pose = signer()
    pose[:, layout.NMM] = 0
    pose[:, layout.HEAD_POSE] = 0.1  # all that some data measure of a face

    def skin(unseen: list[int]) -> int:
        points = layout.frame_to_keypoints(pose)
        points[:, unseen] = 0
        shown = np.concatenate([points.reshape(len(pose), -1), pose[:, layout.NMM]], axis=1)
        return int((pixels(shown) == figure.SKIN).all(-1).sum())

    mouth, eyes = [layout.LEFT_MOUTH, layout.RIGHT_MOUTH], [layout.LEFT_EYE_OUTER, layout.RIGHT_EYE_OUTER]
    assert skin([]) > 300
    assert skin(mouth) == pytest.approx(skin([]), rel=0.05)
    assert skin(eyes) == 0
