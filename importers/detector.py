"""MediaPipe Holistic and its face detector, as plain arrays. Needs requirements-video.txt."""

import importlib.util
import os
import sys
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from poses import layout
from runtime.errors import UserError

INSTALL = "run `make .venv-video`, then .venv-video/bin/python extract_features.py"


@dataclass(frozen=True)
class Landmarks:
    """What was found in one picture, in units of that picture: points [75,2], visibility [75], face [478,3] or None."""

    points: np.ndarray
    visibility: np.ndarray
    face: np.ndarray | None


class Detector(Protocol):
    """Finds people in pictures [H,W,3] uint8 RGB."""

    def reset(self) -> None:
        """Forget the pictures that were seen: a new clip begins."""

    def faces(self, picture: np.ndarray) -> np.ndarray:
        """The faces in a picture, in pixels, [N,4]: left, top, width, height."""

    def landmarks(self, picture: np.ndarray) -> Landmarks:
        """The one person that is followed from picture to picture."""


def require_packages() -> None:
    """Raises UserError if this Python lacks what reads videos, or has a MediaPipe without the models."""
    missing = [name for name in ("mediapipe", "cv2") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"this Python has no {' and no '.join(missing)}, which read videos; {INSTALL}")
    folder = importlib.util.find_spec("mediapipe").submodule_search_locations[0]
    if not os.path.isdir(os.path.join(folder, "modules", "holistic_landmark")):
        raise UserError(f"this mediapipe carries no model of Holistic, 0.10.21 is the last that does; {INSTALL}")


def silence_native_logs() -> None:
    """Keep the log lines of MediaPipe's and OpenCV's C++ parts off the terminal, for the rest of the process.

    They come from threads of their own, whatever the settings say. What Python says on stderr is still seen.
    """
    terminal = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    sys.stderr = os.fdopen(terminal, "w", buffering=1, errors="backslashreplace")


class Holistic:
    """The detector: MediaPipe Holistic (complexity 1, refined face) and the face detector of full range."""

    def __init__(self) -> None:
        from mediapipe import solutions

        self._holistic = solutions.holistic.Holistic(model_complexity=1, refine_face_landmarks=True)
        self._faces = solutions.face_detection.FaceDetection(model_selection=1)

    def reset(self) -> None:
        self._holistic.reset()
        self._faces.reset()

    def faces(self, picture: np.ndarray) -> np.ndarray:
        found = self._faces.process(picture).detections or []
        boxes = [detection.location_data.relative_bounding_box for detection in found]
        relative = np.array([[box.xmin, box.ymin, box.width, box.height] for box in boxes]).reshape(-1, 4)
        height, width = picture.shape[:2]
        return relative * [width, height, width, height]

    def landmarks(self, picture: np.ndarray) -> Landmarks:
        found = self._holistic.process(picture)
        points = np.zeros((layout.NUM_KEYPOINTS, 2))
        visibility = np.zeros(layout.NUM_KEYPOINTS)
        body = slice(0, layout.NUM_BODY)
        hands = (layout.LEFT_HAND_KEYPOINTS, layout.RIGHT_HAND_KEYPOINTS)
        if found.pose_landmarks:
            points[body] = _coordinates(found.pose_landmarks)[:, :2]
            visibility[body] = [point.visibility for point in found.pose_landmarks.landmark]
        for place, hand in zip(hands, (found.left_hand_landmarks, found.right_hand_landmarks), strict=True):
            if hand:
                points[place], visibility[place] = _coordinates(hand)[:, :2], 1.0
        face = _coordinates(found.face_landmarks) if found.face_landmarks else None
        return Landmarks(points, visibility, face)


def _coordinates(landmarks: object) -> np.ndarray:
    return np.array([[point.x, point.y, point.z] for point in landmarks.landmark])
