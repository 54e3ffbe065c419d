"""Geometry of the crops, against marks painted into pictures."""

import cv2
import numpy as np
import pytest

from data_pipelines.prepare import faces


def track(landmarks, width=0):
    return faces.Track(np.float32(landmarks), np.ones(len(landmarks), bool), width)


def turned(points, angle, scale, shift):
    """Points [n 2] turned by angle (radians), scaled and shifted."""
    c, s = np.cos(angle) * scale, np.sin(angle) * scale
    return points @ np.array([[c, s], [-s, c]]) + shift


def test_similarity_is_the_least_squares_one():
    rng = np.random.default_rng(0)
    target = rng.normal(size=(5, 2))
    source = np.stack([turned(target, 0.4, 3.0, (50, 20)) + rng.normal(size=(5, 2)) * 0.1 for _ in range(3)])
    maps = faces.similarity(source, target)
    for points, found in zip(source, maps, strict=True):
        z, w = points, target  # solve for (a, b, tx, ty) in the plain linear system
        rows = np.concatenate(
            [np.c_[z[:, 0], -z[:, 1], np.ones(5), np.zeros(5)], np.c_[z[:, 1], z[:, 0], np.zeros(5), np.ones(5)]]
        )
        a, b, tx, ty = np.linalg.lstsq(rows, np.concatenate([w[:, 0], w[:, 1]]), rcond=None)[0]
        np.testing.assert_allclose(found, [[a, -b, tx], [b, a, ty]], atol=1e-5)


def test_smooth_is_a_centred_mean():
    values = np.random.default_rng(0).normal(size=(20, 3, 2)).astype(np.float32)
    smoothed = faces.smooth(values, 5)
    for i in range(20):
        np.testing.assert_allclose(smoothed[i], values[max(0, i - 2) : i + 3].mean(0), atol=1e-6)
    np.testing.assert_array_equal(faces.smooth(values, 1), values)
    np.testing.assert_allclose(faces.smooth(np.ones((2, 4), np.float32), 12), 1)


@pytest.mark.parametrize("angle", [0.0, 0.5, -1.2, 3.0])
@pytest.mark.parametrize("eyes", [30.0, 60.0, 200.0])
def test_face_and_mouth_land_in_the_same_place_at_any_pose(frontal, angle, eyes):
    points = turned(frontal(0, 0, eyes), angle, 1.0, (400, 300))
    image = np.zeros((600, 800, 3), np.uint8)
    for i, colour in ((36, (255, 0, 0)), (45, (0, 255, 0)), (60, (0, 0, 255))):
        x, y = points[i]
        cv2.circle(image, (round(float(x)), round(float(y))), max(2, round(eyes / 10)), colour, -1)
    path = track([points] * 3)
    face = faces.crop(image, faces.face_transforms(path, 112, 0.3)[1], 112)
    unit = 112 / (1.55 * 1.3)
    for channel, (x, y) in enumerate([(-0.5, 0.0), (0.5, 0.0), (0.0, 0.85)]):
        row, column = np.argwhere(face[..., channel] > face[..., channel].max() / 2).mean(0)
        assert column == pytest.approx(55.5 + x * unit, abs=2.5)
        assert row == pytest.approx(55.5 + (y - 0.35) * unit, abs=2.5)
    mouth = faces.crop(image, faces.mouth_transforms(path, 96)[1], 96)
    row, column = np.argwhere(mouth[..., 2] > mouth[..., 2].max() / 2).mean(0)
    assert (column, row) == pytest.approx((47.5, 47.5), abs=2.5)


def test_boxes_are_the_squares_that_the_crops_show(frontal):
    points = turned(frontal(0, 0, 60), 0.3, 1.0, (400, 300))
    maps = faces.face_transforms(track([points]), 112, 0.3)
    corners = np.array([(-0.5, -0.5), (111.5, 111.5), (111.5, -0.5), (-0.5, 111.5)])
    inverse = cv2.invertAffineTransform(maps[0])
    seen = corners @ inverse[:, :2].T + inverse[:, 2]
    (x0, y0, x1, y1) = faces.boxes(maps, 112)[0]
    np.testing.assert_allclose(((x0 + x1) / 2, (y0 + y1) / 2), seen.mean(0), atol=1e-3)
    assert x1 - x0 == pytest.approx(np.linalg.norm(seen[2] - seen[0]), rel=1e-5)
    assert x1 - x0 == pytest.approx(1.55 * 1.3 * 60, rel=1e-5)
    assert x1 - x0 == pytest.approx(y1 - y0, rel=1e-6)


def test_shrinking_does_not_alias():
    stripes = np.zeros((800, 800, 3), np.uint8)
    stripes[:, ::2] = 255
    small = faces.crop(stripes, np.float32([[0.11, 0, 3], [0, 0.11, 3]]), 80)
    assert np.abs(small[8:72, 8:72].astype(int) - 127).max() <= 25


def test_shrinking_shifts_nothing():
    image = np.zeros((800, 800, 3), np.uint8)
    image[380:421, 280:321] = 255  # centre (300, 400)
    for scale in (0.09, 0.3, 0.6, 1.0, 2.0):
        size = 100
        shift = (size - 1) / 2 - scale * np.array([300, 400])
        small = faces.crop(image, np.float32([[scale, 0, shift[0]], [0, scale, shift[1]]]), size)
        weights = small[..., 0].astype(float)
        grid = np.arange(size)
        x = (weights.sum(0) * grid).sum() / weights.sum()
        y = (weights.sum(1) * grid).sum() / weights.sum()
        assert (x, y) == pytest.approx((49.5, 49.5), abs=0.15)


def test_the_whole_picture_in_a_square():
    image = np.full((90, 160, 3), 255, np.uint8)
    square = faces.crop(image, faces.whole_transforms(160, 90, 80)[0], 80, cv2.BORDER_CONSTANT)
    assert square[40].min() == 255
    assert square[:15].max() == 0
    assert square[-15:].max() == 0
    assert np.sum(square[:, 40, 0] > 127) == pytest.approx(45, abs=1)


def test_mouth_crops_are_steady_and_follow(frontal):
    rng = np.random.default_rng(0)
    steps = np.arange(50)
    true = np.stack([frontal(300 + 3 * i, 200, 80) for i in steps])
    noisy = true + rng.normal(size=true.shape) * 1.5
    maps = faces.mouth_transforms(track(noisy), 96)
    scale = np.hypot(maps[:, 0, 0], maps[:, 1, 0])
    assert scale.std() / scale.mean() < 0.01
    lips = np.einsum("tij,tj->ti", maps[:, :, :2], true[:, 48:68].mean(1)) + maps[:, :, 2]
    assert np.abs(lips[1:-1] - 47.5).max() < 2.5


def write(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_given_landmarks_are_read_at_25_a_second(tmp_path, frontal):
    times = np.arange(31) / 30
    landmarks = np.stack([frontal(100 + 30 * t, 50, 20) for t in times])
    found = faces.given(write(tmp_path / "a.npz", landmarks=landmarks, times=times))
    assert len(found.landmarks) == 26
    np.testing.assert_allclose(found.landmarks[:, 60, 0], 100 + 30 * np.arange(26) / 25, atol=1e-3)
    assert found.found.all()


def test_given_landmarks_may_miss_frames(tmp_path, frontal):
    landmarks = np.stack([frontal(100 + i, 50, 20) for i in range(50)])
    landmarks[10:40] = np.nan
    found = faces.given(write(tmp_path / "a.npz", landmarks=landmarks, times=np.arange(50) / 25))
    np.testing.assert_allclose(found.landmarks[:, 60, 0], 100 + np.arange(50), atol=1e-3)
    assert not found.found[11:39].any()
    assert found.found[:10].all()
    assert found.found[40:].all()
    assert 28 <= faces.longest_gap(found.found) <= 30


def test_given_landmarks_that_are_none(tmp_path, frontal):
    points = np.stack([frontal(9, 9, 5)] * 3)
    faulty = {
        "missing": tmp_path / "none.npz",
        "text": tmp_path / "text.npz",
        "shape": write(tmp_path / "shape.npz", landmarks=points[:, :60], times=np.arange(3)),
        "times": write(tmp_path / "times.npz", landmarks=points, times=np.zeros(3)),
        "empty": write(tmp_path / "nan.npz", landmarks=points * np.nan, times=np.arange(3)),
        "names": write(tmp_path / "names.npz", points=points),
        "objects": write(tmp_path / "objects.npz", landmarks=np.array([{}] * 3, object), times=np.arange(3)),
    }
    faulty["text"].write_text("hello")
    for name, path in faulty.items():
        with pytest.raises(ValueError, match=path.name) as error:
            faces.given(path)
        assert "\n" not in str(error.value), name


def test_longest_gap():
    assert faces.longest_gap(np.array([], bool)) == 0
    assert faces.longest_gap(np.array([1, 1], bool)) == 0
    assert faces.longest_gap(np.array([0, 0, 1, 0, 0, 0, 1, 0], bool)) == 3


def test_a_track_found_in_small_pictures_fits_large_ones(frontal):
    small = track([frontal(100, 60, 20)], width=320)
    large = small.scaled(1280)
    np.testing.assert_allclose(large.landmarks, (small.landmarks + 0.5) * 4 - 0.5)
    assert large.scaled(1280) is large
