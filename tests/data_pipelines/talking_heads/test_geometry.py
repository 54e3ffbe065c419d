"""Geometry: the warp's inverse, and landmarks that lie where things are drawn."""

import dataclasses
import importlib.util
import pathlib

import cv2
import numpy as np
import pytest

from data_pipelines.talking_heads import articulation, face, geometry, identity


@pytest.fixture(scope="module", params=[0, 1, 2])
def acted(request):
    rng = np.random.default_rng(request.param)
    who = dataclasses.replace(identity.draw(rng, "somebody"), glasses=False)
    track = articulation.utterance(2.4, rng)
    motion = geometry.perform(track, np.arange(60) / 25, rng)
    place = face.scene(rng)
    marks = geometry.landmarks(who, motion, place.view)
    return who, motion, place, marks, face.render(who, motion, place, rng)


def test_unproject_inverts_project(acted):
    who, motion, place, *_ = acted
    pixels = np.stack(np.meshgrid(np.linspace(30, 130, 21), np.linspace(10, 150, 29)), -1).reshape(-1, 2)
    points = geometry.unproject(pixels, who, motion, place.view)
    error = np.linalg.norm(geometry.project(points, who, motion, place.view) - pixels, axis=-1)
    assert np.percentile(error, 99) < 0.25
    assert error.max() < 1.5


def test_landmarks_follow_the_ibug_order(acted):
    *_, marks, _ = acted
    assert marks.shape == (60, 68, 2) and marks.dtype == np.float32
    assert marks.min() > 0 and marks.max() < geometry.SIZE
    mean = marks.mean(0)
    x, y = mean[:, 0], mean[:, 1]
    assert (np.diff(x[:17]) > -1).all() and y[8] == y[:17].max()  # jaw, left to right, chin in the middle
    assert (np.diff(x[17:27]) > 0).all()  # brows
    assert (np.diff(y[27:31]) > 0).all() and (np.diff(x[31:36]) > 0).all()  # nose
    for start in (36, 42):  # eyes: corners, two points above, two below
        assert x[start] < x[start + 1] < x[start + 2] < x[start + 3] > x[start + 4] > x[start + 5]
        assert y[start + 1] < y[start + 5] and y[start + 2] < y[start + 4]
    assert x[48] < x[51] < x[54] and y[51] < y[57] and x[60] < x[62] < x[64] and y[62] < y[66]
    assert y[:27][17:].max() < y[36:48].min() < y[48:].min()


def test_the_inner_lips_open_as_the_track_says(acted):
    _, motion, _, marks, _ = acted
    gap = np.linalg.norm(marks[:, 66] - marks[:, 62], axis=1)
    assert np.corrcoef(gap, motion.opening)[0, 1] > 0.98


def test_eyes_and_mouth_are_drawn_at_their_landmarks(acted):
    _, motion, _, marks, frames = acted
    grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]).astype(float)

    def look(t, point):
        x, y = np.round(point).astype(int)
        return grey[t, y, x]

    wide = np.argmax(motion.opening)
    assert look(wide, (marks[wide, 62] + marks[wide, 66]) / 2) < 50  # between the teeth and the tongue
    awake = np.argmin(motion.blink + np.abs(motion.gaze_x))
    for start in (36, 42):
        eye = marks[awake, start : start + 6]
        box = np.round([eye.min(0), eye.max(0)]).astype(int)
        part = grey[awake, box[0, 1] : box[1, 1] + 1, box[0, 0] : box[1, 0] + 1]
        assert part.min() < 0.6 * part.max()  # pupil and white


def test_skin_moves_with_its_landmarks(acted):
    """Optical flow of the picture around the nose agrees with the landmarks' motion."""
    *_, marks, frames = acted
    grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
    first = marks[0, 27:36][:, None].astype(np.float32)
    seen, wanted = [], []
    for t in range(5, 60, 5):
        flow, found, _ = cv2.calcOpticalFlowPyrLK(grey[0], grey[t], first, None, winSize=(17, 17))
        good = found[:, 0] == 1
        seen.append((flow - first)[good, 0].mean(0))
        wanted.append((marks[t, 27:36] - marks[0, 27:36])[good].mean(0))
    assert np.abs(np.subtract(seen, wanted)).mean() < 0.7


def test_an_independent_detector_sees_the_face_and_its_landmarks(acted):
    """dlib, trained on photographs, finds exactly one face and agrees on the landmarks to a few pixels."""
    import dlib

    models = pathlib.Path(importlib.util.find_spec("face_recognition_models").origin).parent / "models"
    *_, marks, frames = acted
    large = cv2.resize(frames[20], (320, 320))
    (box,) = dlib.get_frontal_face_detector()(large, 0)
    shape = dlib.shape_predictor(str(models / "shape_predictor_68_face_landmarks.dat"))(large, box)
    seen = np.array([[shape.part(k).x, shape.part(k).y] for k in range(68)]) / 2
    error = np.linalg.norm(seen - marks[20], axis=1)
    assert error[27:48].mean() < 3 and error.mean() < 5
