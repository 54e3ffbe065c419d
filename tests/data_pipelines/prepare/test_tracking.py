"""Following faces, with a detector that is told where they are."""

import numpy as np
import pytest

from data_pipelines.prepare import detectors, faces, tracking


class Scripted:
    """Finds the faces that a picture's first value names: script[value] is a list of (x, y, size, score)."""

    every = 5

    def __init__(self, script):
        self.script = script
        self.looks = self.follows = 0

    def __call__(self, frame):
        self.looks += 1
        return [self._face(*what) for what in self.script[int(frame[0, 0, 0])]]

    def follow(self, frame, box):
        self.follows += 1
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        return self._face(x, y, box[2] - box[0], 1.0)

    def describe(self, frame, face):
        return np.full(1, face.size / 10)  # people differ by their size

    def _face(self, x, y, size, score):
        box = (x - size / 2, y - size / 2, x + size / 2, y + size / 2)
        return detectors.Face(box, np.full((68, 2), (x, y), np.float32), score)


def follow(script):
    """The speaker's track through one picture per entry of the script."""
    detector = Scripted(script)
    tracker = tracking.Tracker(lambda: detector)
    for i in range(len(script)):
        tracker.take(i, i / 25, np.full((2, 2, 3), i, np.uint8))
    tracks = tracker.finish(640)
    return tracks[0] if tracks else None, detector


def test_a_moving_face_is_followed_with_few_looks():
    track, detector = follow([[(100 + i, 80, 60, 1.0)] for i in range(38)])
    assert track.found.all()
    assert track.width == 640
    np.testing.assert_allclose(track.landmarks[:, 0, 0], 100 + np.arange(38), atol=1e-3)
    assert detector.looks == 6  # 0, 5, then every tenth, and the last
    assert detector.looks + detector.follows == 38


def test_the_largest_steady_face_is_the_speaker():
    script = [[(100, 80, 60, 1.0), (400, 80, 50, 1.0)] for _ in range(40)]
    for i in range(20, 26):
        script[i] = [*script[i], (600, 80, 90, 1.0)]  # someone large walks by
    track, _ = follow(script)
    assert track.found.all()
    np.testing.assert_array_equal(track.landmarks[:, 0, 0], 100)


def test_a_face_that_is_lost_is_interpolated_and_counted():
    script = [[(100 + i, 80, 60, 1.0)] if not 10 <= i < 22 else [] for i in range(40)]
    track, _ = follow(script)
    assert not track.found[10:22].any()
    assert track.found[:6].all()
    assert track.found[25:].all()
    np.testing.assert_allclose(track.landmarks[:, 0, 0], 100 + np.arange(40), atol=1e-3)
    assert faces.longest_gap(track.found) <= 20


def test_a_weak_sight_continues_but_does_not_begin():
    weak = [[(100, 80, 60, 1.0 if i < 10 else -0.1)] for i in range(30)]
    assert follow(weak)[0].found.all()
    assert follow([[(100, 80, 60, -0.1)]] * 30)[0] is None


def test_pieces_at_one_place_are_one_speaker_and_others_are_not():
    script = [[(100, 80, 60, 1.0)] if not 20 <= i < 70 else [] for i in range(100)]
    track, _ = follow(script)
    assert track.found[:16].all()
    assert track.found[70:].all()
    script = [[(100 if i < 60 else 400, 80, 60, 1.0)] for i in range(100)]
    track, _ = follow(script)
    assert track.found[:56].all()
    assert not track.found[61:].any()


def test_everybody_is_followed_the_largest_first():
    script = [[(100 + i, 80, 60, 1.0), (400, 80, 120, 1.0)] for i in range(30)]
    for i in range(12, 20):
        script[i] = script[i][:1]  # the larger one looks away
    tracker = tracking.Tracker(lambda: Scripted(script))
    for i in range(30):
        tracker.take(i, i / 25, np.full((2, 2, 3), i, np.uint8))
    larger, smaller = tracker.finish(640)
    np.testing.assert_array_equal(larger.landmarks[:, 0, 0], 400)
    assert not larger.found[12:20].any()
    assert smaller.found.all()
    np.testing.assert_allclose(smaller.landmarks[:, 0, 0], 100 + np.arange(30), atol=1e-3)


def test_of_a_crowd_the_largest_are_told_apart():
    tracks = [{0: detectors.Face((50 * i, 0, 50 * i + 20 + i, 20 + i), np.zeros((68, 2)))} for i in range(30)]
    found = tracking.people(tracks)
    assert [round(person[0].size) for person in found] == [49, 48, 47, 46, 45, 44, 43, 42]


def test_over_cuts_a_person_is_recognised():
    """Two people at the same place, one in the first and the last shot, elsewhere; the other in the middle one."""
    rng = np.random.default_rng(0)
    scenes = [rng.integers(0, 255, (12, 16, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1) for _ in range(3)]
    detector = Scripted([[(48, 48, 40, 1.0)], [(48, 48, 50, 1.0)], [(80, 48, 42, 1.0)]])
    tracker = tracking.Tracker(lambda: detector)
    shots = np.repeat([0, 1, 2], [21, 30, 22])
    for i, shot in enumerate(shots):
        picture = np.roll(scenes[shot], i % 4, 1)
        picture[0, 0] = shot
        tracker.take(i, i / 25, picture)
    again, between = tracker.finish(640)
    assert again.cuts == between.cuts == (21, 51)
    np.testing.assert_array_equal(again.found, shots != 1)
    np.testing.assert_array_equal(between.found, shots == 1)
    # Nothing is averaged over the cut.
    maps = faces.face_transforms(faces.Track(_spread(again.landmarks), again.found, cuts=again.cuts), 64, 0.3)
    np.testing.assert_array_equal(maps[:21], maps[:1].repeat(21, 0))
    np.testing.assert_array_equal(maps[51:], maps[51:52].repeat(22, 0))


def _spread(landmarks):
    """Landmarks [t 68 2] that all lie at one point, as those of a face around it."""
    return landmarks + np.random.default_rng(0).normal(0, 10, (68, 2)).astype(np.float32)


def test_a_face_that_is_seen_late_in_its_shot_is_not_looked_for_in_the_shot_before():
    landmarks = np.arange(20, dtype=np.float32)[:, None, None] * np.ones((68, 2), np.float32)
    found = np.isin(np.arange(20), [0, 1, 14, 16])
    filled = faces.fill(landmarks, found, 0, (10, 18)).landmarks[:, 0, 0]
    np.testing.assert_allclose(filled, [0, *[1] * 9, *[14] * 5, 15, *[16] * 4])


def test_a_flash_and_noise_are_no_cuts():
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 120, (12, 16, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    plain = [np.clip(100 + rng.normal(0, 20, scene.shape), 0, 255).astype(np.uint8) for _ in range(5)]
    for pictures in ([scene, scene + 120, scene], plain):
        tracker = tracking.Tracker(lambda: Scripted([[]] * 256))
        for i, picture in enumerate(pictures):
            tracker.take(i, i / 25, picture)
        assert tracker.finish(640) == []
        assert tracker.cuts == []


def test_nobody():
    assert follow([[]] * 12)[0] is None
    assert tracking.Tracker(lambda: Scripted([])).finish(640) == []


def test_overlap():
    assert tracking.overlap((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert tracking.overlap((0, 0, 2, 2), (2, 0, 4, 2)) == 0
    assert tracking.overlap((0, 0, 2, 2), (0, 0, 2, 2)) == 1
