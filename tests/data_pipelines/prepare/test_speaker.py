"""Who speaks: on synthetic mouths, and on two talking heads in one picture."""

import dataclasses
import json

import cv2
import numpy as np
import pytest

from data_pipelines.clip import Clip
from data_pipelines.prepare import detectors, extract, faces, speaker
from data_pipelines.talking_heads import articulation, corpus, face, geometry, voice

FRAMES = 200


@pytest.fixture
def speech():
    """Loudness [t] of syllables with pauses between, and sound [s] int16 that has it."""
    rng = np.random.default_rng(0)
    loudness = faces.smooth(rng.gamma(1.0, size=FRAMES), 3)
    loudness[60:80] = 0
    loudness /= loudness.max()
    envelope = np.interp(np.arange(FRAMES * 640) / 640, np.arange(FRAMES), loudness)
    noise = rng.normal(size=FRAMES * 640)
    return loudness, np.int16(np.clip(4000 * envelope * noise, -32768, 32767))


def mouth(frontal, opening, size=28, x=48.0, jitter=0.3, seed=1):
    """Track of a face that sways, whose lower lip and jaw drop by opening [t], in a fifth of the eyes' distance; its
    landmarks tremble by `jitter` pixels."""
    rng = np.random.default_rng(seed)
    landmarks = np.stack([frontal(x + 3 * np.sin(i / 9), 40 + 2 * np.cos(i / 13), size) for i in range(len(opening))])
    landmarks[:, 7:10] = landmarks[:, 33:34] + (0, 0.9 * size)
    for points in (slice(7, 10), slice(65, 68)):
        landmarks[:, points, 1] += 0.2 * size * opening[:, None]
    landmarks += rng.normal(size=landmarks.shape) * jitter
    return faces.Track(landmarks.astype(np.float32), np.ones(len(opening), bool), 640)


def moving(seed):
    """A mouth that talks to itself: [t]."""
    return faces.smooth(np.random.default_rng(seed).gamma(1.0, size=FRAMES), 3) / 3


@pytest.mark.parametrize("lead", [-1, 0, 4])
@pytest.mark.parametrize("other", ["still", "moving"])
def test_the_mouth_that_follows_the_sound_speaks(frontal, speech, other, lead):
    loudness, audio = speech
    small = mouth(frontal, np.roll(loudness, -lead))
    large = mouth(frontal, np.zeros(FRAMES) if other == "still" else moving(3), 60, 200.0, seed=2)
    choice = speaker.choose([large, small], audio)
    assert choice.track is small
    assert choice.by == "sound"
    assert 0.5 < choice.correlation <= 1
    choice = speaker.choose([small, large], audio)
    assert (choice.track, choice.by) == (small, "largest")
    assert 0.5 < choice.correlation <= 1


def test_the_largest_is_followed_where_the_sound_tells_nothing(frontal, speech):
    _, audio = speech
    switched = 0
    for seed in range(20):
        tracks = [
            mouth(frontal, moving(2 * seed + 50), 60, 200.0, seed=seed),
            mouth(frontal, moving(2 * seed + 51), seed=seed),
        ]
        choice = speaker.choose(tracks, audio)
        switched += choice.by == "sound"
        assert abs(choice.correlation) < 0.6
    assert switched <= 3  # whoever it is, nobody is heard
    for silent in (None, np.zeros(0, np.int16), np.zeros(FRAMES * 640, np.int16)):
        choice = speaker.choose(tracks, silent)
        assert (choice.track, choice.by, choice.correlation) == (tracks[0], "largest", None)


def test_one_face_costs_nothing(frontal, speech, monkeypatch):
    loudness, audio = speech
    monkeypatch.setattr(speaker, "envelope", None)
    alone = mouth(frontal, loudness)
    passing = faces.Track(alone.landmarks, np.arange(FRAMES) < 40, 640)
    for tracks in ([alone], [alone, passing]):
        assert speaker.choose(tracks, audio) == speaker.Choice(alone, "only", None)


def test_frames_without_the_face_do_not_count(frontal, speech):
    loudness, audio = speech
    track = mouth(frontal, loudness)
    found = np.ones(FRAMES, bool)
    found[80:140] = False
    landmarks = track.landmarks.copy()
    landmarks[80:140] = np.linspace(landmarks[79], landmarks[140], 60)  # as they are interpolated
    known = speaker.envelope(audio, FRAMES)
    gap = speaker.correlation(faces.Track(landmarks, found, 640), known)
    assert gap == pytest.approx(speaker.correlation(track, known), abs=0.1)
    assert speaker.correlation(faces.Track(landmarks, np.zeros(FRAMES, bool), 640), known) == 0


def test_the_envelope_is_at_the_frames_times():
    audio = np.zeros(FRAMES * 640, np.int16)
    audio[100 * 640 - 100 : 100 * 640 + 100] = np.random.default_rng(0).integers(-9000, 9000, 200)
    loudness = speaker.envelope(audio, FRAMES)
    assert loudness.shape == (FRAMES,)
    assert np.argmax(loudness) == 100
    for short in (audio[:0], audio[:50], audio[:70000], np.concatenate([audio, audio])):
        assert speaker.envelope(short, FRAMES).shape == (FRAMES,)


class Known:
    """Finds the two people whose landmarks are known; a picture's first value is its number."""

    every = 5
    name = "known"

    def __init__(self, *people):
        self.people = people

    def __call__(self, frame):
        return [self._face(person[self._number(frame)]) for person in self.people]

    def follow(self, frame, box):
        found = self(frame)
        return min(found, key=lambda face: abs(face.box[0] - box[0]))

    def _number(self, frame):
        return min(round(float(frame[:16, :16].mean()) / 2), len(self.people[0]) - 1)

    def _face(self, landmarks):
        return detectors.Face((*landmarks.min(0), *landmarks.max(0)), landmarks)


def head(number, seconds):
    """(pictures [t h w 3], landmarks [t 68 2], sound [s]) of a talking head."""
    who = corpus.person(corpus.Settings(), number)
    rng = np.random.default_rng(number)
    times = np.arange(round(seconds * 25)) / 25
    place, room = face.scene(rng), voice.draw_room(rng)
    speech = articulation.utterance(seconds, rng, rate=who.voice.rate, liveliness=who.voice.liveliness)
    motion = geometry.perform(speech, times, rng)
    sound = voice.record(voice.synthesize(speech, who.voice, rng), room, rng)
    return face.render(who, motion, place, rng), geometry.landmarks(who, motion, place.view), sound


@pytest.fixture(scope="module")
def two_heads(tmp_path_factory, write_media):
    """A video of two talking heads, the left one twice as large; function (who is heard) -> (path, left, right)."""
    (left, left_marks, left_sound), (right, right_marks, right_sound) = head(1, 4.0), head(2, 4.0)
    side = left.shape[1]
    pictures = np.zeros((len(left), 2 * side, 3 * side, 3), np.uint8)
    for i in range(len(left)):
        pictures[i, :, : 2 * side] = cv2.resize(left[i], (2 * side, 2 * side))
        pictures[i, side:, 2 * side :] = right[i]
        pictures[i, :16, :16] = 2 * i
    folder = tmp_path_factory.mktemp("heads")

    def write(heard):
        sound = {"left": left_sound, "right": right_sound}[heard]
        sound = 0.5 * sound / np.abs(sound).max()
        rate = voice.SAMPLE_RATE
        path = write_media(
            folder / f"{heard}.mp4", times=np.arange(len(left)) / 25, images=pictures, sound=sound, rate=rate
        )
        return path, 2 * left_marks + 0.5, right_marks + np.array([2 * side, side])

    return write


@pytest.mark.parametrize("heard", ["left", "right"])
def test_of_two_talking_heads_the_one_that_is_heard_is_cut_out(two_heads, heard, monkeypatch):
    path, left, right = two_heads(heard)
    monkeypatch.setattr(detectors, "detector", lambda yunet: Known(left, right))
    outcome = extract.extract(extract.Job(Clip("t/heads", str(path), 0), extract.Crops(face_size=48)))
    assert outcome.status == "ok", outcome.reason
    info = json.loads(outcome.record["info"])
    assert outcome.speaker == info["speaker"] == {"left": "largest", "right": "sound"}[heard]
    assert info["speaker_correlation"] > 0.3
    boxes = np.frombuffer(outcome.record["boxes"], np.float32).reshape(-1, 4)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    expected = {"left": left, "right": right}[heard]
    nose = expected[:, 33]
    assert np.abs(middle - nose).max() < 0.5 * np.ptp(expected[:, :, 0], 1).mean()


def test_other_people_are_followed_where_that_is_asked_for(two_heads, monkeypatch):
    path, left, right = two_heads("right")
    monkeypatch.setattr(detectors, "detector", lambda yunet: Known(left, right))
    job = extract.Job(Clip("t/heads", str(path), 0), extract.Crops(face_size=48), people=3, shown=5)
    seen = extract.see(job)
    assert [outcome.speaker for outcome in seen.outcomes] == ["sound", "other"] and seen.faces == 2
    noses = [marks[:, 33].mean(0) for marks in (right, left)]
    for outcome, nose in zip(seen.outcomes, noses, strict=True):
        boxes = np.frombuffer(outcome.record["boxes"], np.float32).reshape(-1, 4)
        assert np.abs((boxes[:, :2] + boxes[:, 2:]).mean(0) / 2 - nose).max() < 30
    assert seen.outcomes[0].record["audio"] == seen.outcomes[1].record["audio"]
    frames = [picture.frame for picture in seen.pictures]
    assert 2 < len(frames) <= 5 and len(set(np.diff(frames))) == 1  # evenly spread
    picture = cv2.imdecode(np.frombuffer(seen.pictures[0].jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[1] == pytest.approx(seen.source.width * seen.pictures[0].scale, abs=1)
    assert len(extract.see(dataclasses.replace(job, people=1, shown=0)).outcomes) == 1
