"""A span of a file is what the whole file shows and sounds like then, on a clock of its own."""

import re

import numpy as np
import pytest

from data_pipelines.clip import Clip
from data_pipelines.prepare import extract, media
from data_pipelines.prepare.in_memory import InMemory

LIMITS = media.Limits(seconds=2.0)


def read(path, span=None, limits=media.LIMITS):
    levels = []

    def take(i, time, image):
        if i == 0:
            levels.clear()
        levels.append(float(image.mean()))

    return media.read(path, on_frame=take, span=span, limits=limits), np.array(levels)


@pytest.fixture(scope="module")
def film(tmp_path_factory, write_media):
    """5 s whose grey and pitch rise; pictures a second -> path."""
    folder = tmp_path_factory.mktemp("span")

    def write(fps, start=0.0):
        times = start + np.arange(round(5 * fps)) / fps
        images = [np.full((64, 64, 3), 20 + 200 * (time - start) / 5, np.uint8) for time in times]
        clock = np.arange(5 * 16000) / 16000
        sound = 0.4 * np.sin(2 * np.pi * (200 + 300 * clock) * clock)
        path = folder / f"{fps}-{start}.mp4"
        return write_media(path, times=times, images=images, sound=sound, rate=16000, audio_start=start)

    return write


@pytest.mark.parametrize("span", [(0.0, 1.2), (1.2, 3.0), (3.6, 9.0)])
@pytest.mark.parametrize("fps", [25, 5])
def test_pictures_and_sound_are_those_of_the_whole_file(film, fps, span):
    path = film(fps)
    (whole, levels), (part, own) = read(path), read(path, span)
    first, last = (min(round(25 * end), len(levels)) for end in span)
    assert part.frames == len(own) == last - first
    np.testing.assert_allclose(own, levels[first:last], atol=3)
    wanted = whole.audio[640 * first : 640 * last].astype(float)
    assert abs(len(part.audio) - len(wanted)) <= 640 and whole.status == part.status == "ok"
    middle = slice(2000, len(wanted) - 4000)
    assert np.corrcoef(part.audio[middle], wanted[middle])[0, 1] > 0.98  # after a jump a codec needs a moment


def test_spans_count_from_the_files_beginning(film):
    _, levels = read(film(25, 1.0))
    _, own = read(film(25, 1.0), (2.0, 3.0))
    np.testing.assert_allclose(own, levels[50:75], atol=3)


def test_a_file_that_is_too_long_as_a_whole_is_read_in_spans(film):
    path = film(25)
    assert read(path, limits=LIMITS)[0].status == "too_large"
    assert read(path, (3.0, 4.0), LIMITS)[0].frames == 25


def test_sound_alone_has_spans_and_beyond_the_end_is_nothing(tmp_path, write_media):
    path = write_media(tmp_path / "a.wav", seconds=3.0, click=1.5, rate=16000, audio_codec="pcm_s16le")
    part, _ = read(path, (1.0, 2.0))
    assert len(part.audio) == 16000 and part.status == "no_video"
    assert abs(int(np.abs(part.audio).argmax()) - 8000) < 800
    assert read(path, (5.0, 6.0))[0].audio is None


def test_what_a_file_declares_is_told_without_decoding(film, tmp_path):
    facts = media.facts(film(25))
    assert facts.seconds == pytest.approx(5.0, abs=0.1) and len(facts.streams) == 2
    assert re.fullmatch(r"video h264 64x64 25[.\d]* pictures/s", facts.streams[0])
    (tmp_path / "a.mp4").write_text("no film")
    assert media.facts(tmp_path / "a.mp4") == media.facts(tmp_path / "gone.mp4") == media.Facts()


def test_a_record_in_memory_is_the_record(film):
    clip = Clip("a", str(film(25)), 0)
    outcome = extract.extract(extract.Job(clip, extract.Crops(face="whole", face_size=16, mouth=False), (1.0, 2.0)))
    source = InMemory(clip, outcome)
    assert len(source) == 1 and source.index[0].frames == 25 == len(source[0]["frames"])
    assert list(source[0]["frames"]) == outcome.record["frames"]
    np.testing.assert_array_equal(source[0]["audio"][:], np.frombuffer(outcome.record["audio"], np.int16))
    assert source[0]["source_sha256"] == "" and source[0]["found"].tolist() == [1] * 25
    with pytest.raises(IndexError):
        source[1]
    with pytest.raises(ValueError, match="no record"):
        InMemory(clip, extract.Outcome("missing"))
