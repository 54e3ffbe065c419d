"""Manipulations: they change what they should and nothing else."""

import numpy as np
import pytest

from data_pipelines.talking_heads import articulation, camera, face, geometry, identity, manipulations, voice

NUMBER = np.arange(20)


@pytest.fixture(scope="module")
def filmed():
    rng = np.random.default_rng(7)
    target, donor = (identity.draw(rng, name) for name in ("target", "donor"))
    times = np.arange(20) / 25
    motion = geometry.perform(articulation.utterance(0.8, rng), times, rng)
    other = geometry.perform(articulation.utterance(0.8, rng), times, rng)
    place = face.scene(rng)

    def film(actor, act):
        return face.render(actor, act, place, np.random.default_rng(0)), geometry.landmarks(actor, act, place.view)

    frames, marks = film(target, motion)
    lens = camera.Camera(0.5, 3.0)
    frames = camera.add_noise(camera.expose(frames, lens, rng), lens, NUMBER, rng)
    return frames, marks, film(donor, motion), film(target, other)


def _fine(image, box):
    """Energy of the finest detail in a box of a frame."""
    (x0, y0), (x1, y1) = box
    part = image[y0:y1, x0:x1].astype(float).mean(-1)
    return np.abs(part[1:-1, 1:-1] * 4 - part[:-2, 1:-1] - part[2:, 1:-1] - part[1:-1, :-2] - part[1:-1, 2:]).mean()


def test_swap_changes_the_inner_face_alone_and_only_when_weighted(filmed):
    frames, marks, (donor, donor_marks), _ = filmed
    weight = np.r_[np.zeros(8), np.ones(12)].astype(np.float32)
    swapped, mask = manipulations.swap_face(frames, marks, donor, donor_marks, weight, NUMBER, np.random.default_rng(0))
    assert mask.shape == frames.shape[:3] and mask[:8].max() == 0 and (swapped == frames)[mask == 0].all()
    assert mask[8:].max() == 255 and 0.1 < (mask[8:] > 127).mean() < 0.4
    assert np.array_equal(swapped[:8], frames[:8])
    change = np.abs(swapped[8:].astype(int) - frames[8:]).max((0, 3))
    low, high = marks.reshape(-1, 2).min(0).astype(int) - 14, marks.reshape(-1, 2).max(0).astype(int) + 14
    inside = np.zeros_like(change, bool)
    inside[low[1] : high[1], low[0] : high[0]] = True
    assert change[~inside].max() == 0 and change[inside].max() > 20


def test_swap_is_softer_than_the_camera_but_for_the_checkerboard(filmed, monkeypatch):
    frames, marks, (donor, donor_marks), _ = filmed
    cheek = np.round([marks[5, 31] + [-12, -8], marks[5, 31] + [-2, 2]]).astype(int)

    def swap():
        return manipulations.swap_face(
            frames, marks, donor, donor_marks, np.ones(20, np.float32), NUMBER, np.random.default_rng(0)
        )[0]

    generated = swap()
    assert np.abs(generated.mean((0, 1, 2)) - frames.mean((0, 1, 2))).max() < 6  # colours roughly matched
    monkeypatch.setattr(manipulations, "_checkerboard", lambda size, amount: np.ones((size, size, 1), np.float32))
    assert _fine(swap()[5], cheek) < 0.7 * _fine(frames[5], cheek)
    assert _fine(swap()[5], cheek) < 0.7 * _fine(generated[5], cheek)


def test_reenactment_shows_the_other_mouth(filmed):
    frames, marks, _, (other, other_marks) = filmed
    weight = np.ones(20, np.float32)
    fake, mask = manipulations.reenact_lips(frames, marks, other, other_marks, weight, NUMBER, np.random.default_rng(0))
    assert (fake == frames)[mask == 0].all() and mask.max() == 255 and 0.01 < (mask > 127).mean() < 0.12
    change = np.abs(fake.astype(int) - frames).max((0, 3))
    assert change[: int(marks[:, 36:48, 1].max())].max() == 0  # eyes and all above untouched
    assert change.max() > 30
    none, mask = manipulations.reenact_lips(
        frames, marks, other, other_marks, 0 * weight, NUMBER, np.random.default_rng(0)
    )
    assert np.array_equal(none, frames) and mask.max() == 0


@pytest.fixture(scope="module")
def speech():
    rng = np.random.default_rng(3)
    who = identity.draw(rng, "speaker")
    return voice.record(voice.synthesize(articulation.utterance(2.5, rng), who.voice, rng), voice.draw_room(rng), rng)


def test_clone_keeps_the_spectrogram_and_loses_the_phase(speech):
    clone = manipulations.clone_voice(speech, np.random.default_rng(0))
    assert clone.shape == speech.shape and clone.dtype == np.float32
    assert np.sqrt(np.mean(clone**2) / np.mean(speech**2)) == pytest.approx(1, abs=0.15)

    def spectrogram(sound):
        windows = np.lib.stride_tricks.sliding_window_view(sound, 1024)[::256] * np.hanning(1024)
        power = (np.abs(np.fft.rfft(windows)) ** 2)[:, :512].reshape(len(windows), 64, 8).mean(-1)
        return np.log(power + 1e-6).ravel()

    assert np.corrcoef(spectrogram(clone), spectrogram(speech))[0, 1] > 0.93
    assert abs(np.corrcoef(clone, speech)[0, 1]) < 0.5


def test_splice_and_ramp():
    times = np.arange(16000) / 16000
    weight = manipulations.ramp(times, ((0.25, 0.5), (0.7, 0.8)), 0.04)
    assert weight[times < 0.22].max() == 0 and weight[(times > 0.28) & (times < 0.47)].min() == 1
    assert weight[4000] == pytest.approx(0.5)
    assert weight[12000] == 1 and weight[(times > 0.52) & (times < 0.68)].max() == 0
    assert (manipulations.ramp(times, (), 0.04) == 1).all()
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=16000), 3 * rng.normal(size=16000)
    mixed = manipulations.splice(first, second, weight)
    assert np.allclose(mixed[:3000], first[:3000])
    assert np.std(mixed[4800:7000]) == pytest.approx(1, abs=0.1)  # as loud as what it replaces
