"""NMM features on faces with known answers, and `.pose` files."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from poses import layout
from poses.face import OUTER_LIP, nmm_from_face_mesh, split_nmm
from poses.holistic import read_pose_file
from poses.interpolation import fill_gaps
from runtime.errors import UserError


def face_mesh(points: int = 478) -> np.ndarray:
    """A level, frontal face [1,points,3] in pixels: outer eye corners 100 apart, symmetric, mouth closed."""
    face = np.zeros((1, points, 3))
    right = {33: (0, 0), 133: (30, 4), 159: (15, -4), 145: (15, 6), 55: (35, -20), 107: (40, -26), 70: (-5, -18)}
    mirrored = {33: 263, 133: 362, 159: 386, 145: 374, 55: 285, 107: 336, 70: 300, 61: 291}
    right[61] = (25, 80)
    for index, (x, y) in right.items():
        face[0, index, :2] = x, y
        face[0, mirrored[index], :2] = 100 - x, y
    for index, (x, y) in {0: (50, 70), 13: (50, 80), 14: (50, 80), 17: (50, 92), 10: (50, -60), 152: (50, 130)}.items():
        face[0, index, :2] = x, y
    ring = [index for index in OUTER_LIP if index not in (0, 17, 61, 291)]
    angle = np.linspace(0, 2 * np.pi, len(ring), endpoint=False)
    face[0, ring, 0], face[0, ring, 1] = 50 + 20 * np.cos(angle), 80 + 8 * np.sin(angle)
    if points == 478:
        face[0, [468, 473], :2] = (18, 2), (88, 2)  # both irises 3 pixels to the right of their eye's centre
    return face + np.array([200.0, 150.0, 0.0])


def turned(face: np.ndarray, angle: float) -> np.ndarray:
    """The face rolled by `angle` (clockwise in the picture, y downwards) around some point."""
    cos, sin = np.cos(angle), np.sin(angle)
    out = face.copy()
    x, y = face[..., 0] - 40, face[..., 1] - 10
    out[..., 0], out[..., 1] = 40 + x * cos - y * sin, 10 + x * sin + y * cos
    return out


def features_of(face: np.ndarray) -> dict[str, np.ndarray]:
    return {name: value[0] for name, value in split_nmm(nmm_from_face_mesh(face)).items()}


def test_known_distances_in_units_of_the_eye_line():
    found = features_of(face_mesh())
    aus = found["facial_aus"]
    np.testing.assert_allclose(aus[[0, 1]], 0.30, atol=1e-6)  # brow 26 above the outer corner, inner corner 4 below
    np.testing.assert_allclose(aus[[2, 3]], 0.18, atol=1e-6)
    np.testing.assert_allclose(aus[4], 0.30, atol=1e-6)
    np.testing.assert_allclose(aus[[5, 6]], 0.10, atol=1e-6)
    np.testing.assert_allclose(aus[[10, 11]], 0.01, atol=1e-6)  # corners at 80, middle of the lips at 81: pulled up
    np.testing.assert_allclose(aus[12], 0.0, atol=1e-6)
    np.testing.assert_allclose(aus[13], 0.50, atol=1e-6)
    np.testing.assert_allclose(aus[14], 0.11, atol=1e-6)
    np.testing.assert_allclose(aus[15], 0.38, atol=1e-6)
    np.testing.assert_allclose(aus[16], 0.70, atol=1e-6)
    np.testing.assert_allclose(found["eye_gaze"], np.array([3, 0, 3, 0]) / np.hypot(30, 4), atol=1e-6)
    np.testing.assert_allclose(found["mouth_shape"].mean(0), 0.0, atol=1e-6)
    np.testing.assert_allclose(found["head_pose"], 0.0, atol=1e-6)


@pytest.mark.parametrize("roll", [-1.0, -0.2, 0.3, 1.2])
def test_roll_is_measured_and_changes_nothing_else(roll: float):
    level, rolled = features_of(face_mesh()), features_of(turned(face_mesh(), roll))
    assert rolled["head_pose"][2] == pytest.approx(roll, abs=1e-6)
    for name in ("facial_aus", "eye_gaze", "mouth_shape"):
        np.testing.assert_allclose(rolled[name], level[name], atol=1e-6)


def test_size_and_place_do_not_matter():
    face = face_mesh()
    np.testing.assert_allclose(
        nmm_from_face_mesh(face * 0.37 + [30.0, -90.0, 7.0]), nmm_from_face_mesh(face), atol=1e-6
    )


@pytest.mark.parametrize("angle", [-0.5, 0.25])
def test_yaw_and_pitch_come_from_depth(angle: float):
    yawed, pitched = face_mesh(), face_mesh()
    centre = pitched[0, [10, 152], 1].mean()
    yawed[..., 2] = (yawed[..., 0] - 250) * np.tan(angle)
    pitched[..., 2] = (pitched[..., 1] - centre) * np.tan(angle)
    np.testing.assert_allclose(features_of(yawed)["head_pose"], [angle, 0, 0], atol=1e-6)
    np.testing.assert_allclose(features_of(pitched)["head_pose"], [0, angle, 0], atol=1e-6)


def test_without_irises_the_lids_stand_for_the_gaze():
    gaze = features_of(face_mesh(468))["eye_gaze"]
    np.testing.assert_allclose(gaze, np.array([0, -1, 0, -1]) / np.hypot(30, 4), atol=1e-6)


def test_order_and_shape_follow_the_layout():
    nmm = nmm_from_face_mesh(np.repeat(face_mesh(), 3, axis=0))
    assert nmm.shape == (3, layout.NMM_DIM)
    assert nmm.dtype == np.float32
    frame = np.concatenate([np.zeros(layout.MANUAL_DIM), nmm[0]])
    found = features_of(face_mesh())
    np.testing.assert_array_equal(frame[layout.FACIAL_AUS], found["facial_aus"].astype(float))
    np.testing.assert_array_equal(frame[layout.MOUTH_SHAPE].reshape(20, 2), found["mouth_shape"].astype(float))


def test_a_missing_face_is_interpolated_in_time():
    values = np.array([[0.0], [99.0], [2.0], [99.0]], dtype=np.float32)
    filled, _ = fill_gaps(values, np.array([[True], [False], [True], [False]]))
    np.testing.assert_allclose(filled[:, 0], [0, 1, 2, 2])
    assert not fill_gaps(values, np.zeros((4, 1), dtype=bool))[0].any()


@pytest.fixture(scope="module")
def letter_file() -> Path:
    spec = importlib.util.find_spec("spoken_to_signed")
    if spec is None:
        pytest.skip("spoken-to-signed is not installed")
    folder = Path(next(iter(spec.submodule_search_locations))) / "assets" / "fingerspelling_lexicon" / "ase"
    return min(folder.glob("*.pose"))


def test_a_real_letter_is_read(letter_file: Path):
    recording = read_pose_file(letter_file)
    frames = len(recording.keypoints)
    assert recording.keypoints.shape == (frames, 75, 2)
    assert recording.visibility.shape == (frames, 75)
    assert recording.nmm.shape == (frames, 64)
    assert recording.fps == 25
    assert np.isfinite(recording.nmm).all()
    assert not recording.keypoints[:, layout.LEFT_HAND_KEYPOINTS].any()  # this signer's left hand was taken out
    assert not recording.visibility[:, layout.LEFT_HAND_KEYPOINTS].any()
    assert 0 <= recording.visibility.min() <= recording.visibility.max() <= 1
    hand, wrist = recording.keypoints[:, layout.RIGHT_HAND_KEYPOINTS.start], recording.keypoints[:, layout.RIGHT_WRIST]
    assert np.abs(hand - wrist).max() < 0.1  # the hand hangs on its arm
    aus = split_nmm(recording.nmm)["facial_aus"]
    assert ((aus[:, 13] > 0.3) & (aus[:, 13] < 0.9)).all()  # a mouth's width, in eye lines


def test_a_file_read_as_a_prediction_has_the_face_that_its_import_has(letter_file: Path):
    """Depth in pictures is brought to pixels, whoever reads the file."""
    by_default, scaled, as_it_is = (read_pose_file(letter_file, z_scale=scale).nmm for scale in (None, 500, 1))
    np.testing.assert_array_equal(by_default, scaled)
    assert np.abs(by_default - as_it_is).max() > 0.05


def test_z_scale_turns_stored_depth_into_angles(letter_file: Path):
    plain, scaled = (read_pose_file(letter_file, z_scale=scale).nmm[:, 17:19] for scale in (1, 500))
    np.testing.assert_allclose(np.tan(scaled), 500 * np.tan(plain), rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.99])
def test_a_truncated_file_is_named(letter_file: Path, tmp_path: Path, share: float):
    content = letter_file.read_bytes()
    damaged = tmp_path / "damaged.pose"
    damaged.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"damaged\.pose: not a readable"):
        read_pose_file(damaged)


def test_a_reduced_file_is_refused_with_what_it_lacks(letter_file: Path, tmp_path: Path):
    from pose_format import Pose

    pose = Pose.read(letter_file.read_bytes()).get_components(["POSE_LANDMARKS", "RIGHT_HAND_LANDMARKS"])
    with open(tmp_path / "reduced.pose", "wb") as file:
        pose.write(file)
    with pytest.raises(UserError, match=r"FACE_LANDMARKS \(it has 0 points\), LEFT_HAND_LANDMARKS"):
        read_pose_file(tmp_path / "reduced.pose")


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(UserError, match="no such file"):
        read_pose_file(tmp_path / "nowhere.pose")
