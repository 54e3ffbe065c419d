"""Decoding to one clock, and everything that can be wrong with a file."""

import os
import pathlib
import wave

import av
import cv2
import numpy as np
import pytest

from data_pipelines.prepare import containers, media


class Shown:
    """Keeps what a read hands on."""

    def __init__(self):
        self.images, self.times = [], []

    def __call__(self, i, time, image):
        assert i == len(self.times)
        self.images.append(image)
        self.times.append(time)


def read(path, **options):
    shown = Shown()
    return media.read(path, on_frame=shown, **options), shown


def click_of(audio):
    return np.argmax(np.abs(audio.astype(int)) > 6000) / media.SAMPLE_RATE


_VFR = np.cumsum(np.random.default_rng(0).uniform(0.015, 0.07, 60))


@pytest.mark.parametrize("kind", ["mp4 aac", "mkv aac", "mkv flac", "mov pcm_s16le", "mkv libopus"])
@pytest.mark.parametrize(
    ("times", "audio_start"),
    [
        (np.arange(60) / 25, 0.0),
        (np.arange(60) / 24, 0.0),
        (np.arange(72) * 1001 / 30000, 0.0),
        (np.arange(72) / 30, 0.0),
        (_VFR - _VFR[0], 0.0),
        (0.3 + np.arange(60) / 25, 0.0),
        (np.arange(60) / 25, 0.25),
        (0.11 + np.arange(60) / 30, 0.37),
    ],
    ids=["25", "24", "29.97", "30", "vfr", "video late", "audio late", "both late"],
)
def test_flash_and_click_stay_together(tmp_path, write_media, kind, times, audio_start):
    suffix, codec = kind.split()
    moment = float(times[35])
    path = write_media(
        tmp_path / f"a.{suffix}",
        times=times,
        flash=moment,
        click=moment,
        audio_start=audio_start,
        audio_codec=codec,
        rate=48000 if codec == "libopus" else 44100,
    )
    info, shown = read(path)
    assert info.status == "ok", info.reason
    first = next(i for i, image in enumerate(shown.images) if image.mean() > 128)
    flash = moment - times[0]
    assert first == int(np.ceil((flash - 1e-3) * 25))  # the first i/25 s at which a white picture is on show
    assert np.abs(np.array(shown.times)[:, None] - times).min(1).max() < 2e-3
    assert abs(click_of(info.audio) - flash) < 5e-3


def test_pictures_are_those_shown_at_each_25th(tmp_path, write_media):
    times = np.cumsum(np.random.default_rng(1).uniform(0.01, 0.12, 40))
    path = write_media(tmp_path / "a.mkv", times=times, rate=0)
    info, shown = read(path)
    source = np.round(times, 3)  # Matroska's milliseconds
    for i, time in enumerate(shown.times):
        at = source[0] + i / 25
        assert time == pytest.approx(source[source <= at + 1e-4].max(), abs=1.1e-3)
    assert info.frames == len(shown.times)
    assert (info.frames - 1) / 25 < info.frames / 25 <= times[-1] - times[0] + 0.12


def test_sound_without_picture_and_picture_without_sound(tmp_path, write_media):
    info, shown = read(write_media(tmp_path / "a.mp4", times=np.arange(10) / 25, rate=0))
    assert (info.status, info.reason, info.audio, info.frames) == ("no_audio", "no audio", None, 10)
    info, shown = read(write_media(tmp_path / "a.wav", audio_codec="pcm_s16le", seconds=1.5, rate=8000))
    assert (info.status, info.reason, info.frames) == ("no_video", "no video", 0)
    assert len(info.audio) == 24000
    assert not shown.times


@pytest.mark.parametrize(("rate", "layout"), [(8000, "mono"), (44100, "stereo"), (48000, "5.1")])
def test_any_sound_becomes_16_khz_mono(tmp_path, write_media, rate, layout):
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(rate * 2) / rate)
    path = write_media(tmp_path / "a.wav", sound=tone, rate=rate, layout=layout, audio_codec="pcm_s16le")
    audio = read(path)[0].audio
    assert audio.dtype == np.int16
    assert len(audio) == 32000
    middle = audio[8000:24000].astype(float)
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(16000)))
    assert np.argmax(spectrum) == 440
    assert 0.2 * 32767 < np.abs(middle).max() < 0.6 * 32767


@pytest.mark.parametrize(("seconds", "heard"), [(1.0, 1.0), (2.0, 2.0), (3.0, 2.0)])
def test_sound_shorter_or_longer_than_the_pictures(tmp_path, write_media, seconds, heard):
    """Sound beyond the last picture is cut off; one that ends earlier keeps its length, and is not stretched."""
    options = {"audio_codec": "pcm_s16le", "rate": 16000, "click": 0.9, "seconds": seconds}
    info, _ = read(write_media(tmp_path / "a.mkv", times=np.arange(50) / 25, **options))
    assert (info.status, info.frames) == ("ok", 50)
    assert abs(len(info.audio) - heard * media.SAMPLE_RATE) <= 16
    assert abs(click_of(info.audio) - 0.9) < 2e-3


def test_silence_is_sound(tmp_path, write_media):
    info, _ = read(write_media(tmp_path / "a.mkv", times=np.arange(50) / 25, audio_codec="pcm_s16le"))
    assert info.status == "ok" and len(info.audio) == 32000 and not info.audio.any()


@pytest.mark.parametrize("size", [(63, 48), (64, 49), (65, 47)])
def test_odd_sizes_keep_every_pixel(tmp_path, size):
    image = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "bgr0"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="bgr0")))
        container.mux(stream.encode())
    info, shown = read(tmp_path / "a.mkv", pixels="rgb24")
    assert (info.width, info.height) == size
    np.testing.assert_array_equal(shown.images[0], image)


def test_sound_that_stops_and_goes_on_leaves_silence(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        for start in (0, 32000):
            frame = av.AudioFrame.from_ndarray(np.full((1, 16000), 9000, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    audio = read(path)[0].audio
    assert abs(len(audio) - 48000) < 20
    assert np.all(audio[16100:31900] == 0)
    assert audio[:15900].min() > 8000
    assert audio[32100:].min() > 8000


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_rotation_is_applied(tmp_path, write_media, angle):
    """The display matrix (ISO/IEC 14496-12, 8.3.2) is written into the track header by hand."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:16, :16] = 255  # top left
    path = write_media(tmp_path / "a.mp4", times=np.arange(5) / 25, images=[image] * 5, rate=0)
    data = bytearray(path.read_bytes())
    matrix = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[angle]  # clockwise
    header = data.index(b"tkhd") + 4 + 40
    for slot, value in zip((0, 4, 12, 16), matrix, strict=True):
        data[header + slot : header + slot + 4] = (value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    info, shown = read(path)
    expected = np.rot90(image, -angle // 90)
    assert shown.images[0].shape == expected.shape == (info.height, info.width, 3)
    assert np.abs(shown.images[0].astype(int) - expected).mean() < 8


def test_long_side_and_channel_order(tmp_path, write_media):
    image = np.zeros((120, 200, 3), np.uint8)
    image[..., 0] = 255  # red
    path = write_media(tmp_path / "a.mp4", times=np.arange(3) / 25, images=[image] * 3, rate=0)
    _info, shown = read(path, long_side=100, pixels="rgb24")
    assert shown.images[0].shape == (60, 100, 3)
    assert shown.images[0].flags.c_contiguous
    assert shown.images[0][..., 0].mean() > 200 > 60 > shown.images[0][..., 2].mean()
    assert read(path)[1].images[0][..., 2].mean() > 200


def test_one_picture(tmp_path, write_media):
    info, shown = read(write_media(tmp_path / "a.mp4", times=[0.0], rate=0))
    assert info.frames == len(shown.times) == 1


def make(path, data):
    path.write_bytes(data)
    return path


def test_files_that_are_no_media(tmp_path):
    assert read(tmp_path / "none.mp4")[0].status == "missing"
    assert read(tmp_path)[0].status == "missing"
    noise = np.random.default_rng(0).bytes(50_000)
    for name, data in (("empty", b""), ("text", b"hello\n" * 500), ("noise", noise), ("html", b"<html>" * 99)):
        info, shown = read(make(tmp_path / f"{name}.mp4", data))
        assert info.status == "undecodable", name
        assert info.reason
        assert "\n" not in info.reason
        assert not shown.times


@pytest.mark.parametrize("kind", ["plain", "faststart", "fragmented"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_cut_mp4_is_noticed(tmp_path, write_media, kind, share):
    flags = {"faststart": "+faststart", "fragmented": "+frag_keyframe+empty_moov"}
    options = {"movflags": flags[kind]} if kind in flags else {}
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (64, 64, 3), np.uint8) for _ in range(50)]
    path = write_media(tmp_path / "a.mp4", times=np.arange(50) / 25, images=images, options=options)
    whole, _ = read(path)
    assert whole.status == "ok", whole.reason
    assert whole.frames == 50
    data = path.read_bytes()
    info, shown = read(make(tmp_path / "cut.mp4", data[: int(len(data) * share)]))
    assert info.status == ("undecodable" if kind == "plain" else "truncated")
    assert info.reason
    assert info.frames == len(shown.times)
    assert info.frames < 50 or kind == "fragmented"  # a fragment's tail may be sound alone


@pytest.mark.parametrize("suffix", ["avi", "mkv", "wav"])
def test_cut_other_containers_are_noticed(tmp_path, write_media, suffix):
    codecs = {"video_codec": "mpeg4", "audio_codec": "pcm_s16le"}
    times = None if suffix == "wav" else np.arange(50) / 30
    path = write_media(tmp_path / f"a.{suffix}", times=times, **codecs)
    assert read(path)[0].status in ("ok", "no_video")
    data = path.read_bytes()
    assert read(make(tmp_path / f"cut.{suffix}", data[: len(data) // 2]))[0].status == "truncated"


def test_damage_in_the_middle_keeps_what_was_decoded(tmp_path, write_media):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (96, 96, 3), np.uint8) for _ in range(50)]
    path = write_media(tmp_path / "a.mp4", times=np.arange(50) / 25, images=images, rate=0)
    data = bytearray(path.read_bytes())
    half = data.index(b"mdat") + len(data) // 2
    data[half : half + 400] = bytes(400)
    info, shown = read(make(tmp_path / "b.mp4", bytes(data)))
    assert info.status == "truncated"
    assert "damaged" in info.reason or "stopped" in info.reason
    assert info.frames == len(shown.times) > 0


def test_a_script_named_mp4_opens_nothing(tmp_path, write_media):
    write_media(tmp_path / "canary.mp4", times=np.arange(5) / 25, rate=0)
    scripts = {
        "concat.mp4": "ffconcat version 1.0\nfile canary.mp4\n",
        "hls.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\ncanary.mp4\n#EXT-X-ENDLIST\n",
        "sdp.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    }
    for name, text in scripts.items():
        info, shown = read(make(tmp_path / name, text.encode()))
        assert (info.status, info.frames, shown.times) == ("undecodable", 0, []), name


@pytest.mark.parametrize(
    "name",
    [
        "with space",
        "line\nbreak",
        "-y",
        "quote'\"",
        "100%d",
        "😀",
        "a|b",
        "concat:a|b",
        os.fsdecode(b"\xff\xfe"),
        "x" * 251,  # with its suffix the longest that a file system takes
    ],
)
def test_odd_names(tmp_path, monkeypatch, write_media, name):
    plain = write_media(tmp_path / "plain.mp4", times=np.arange(5) / 25, rate=0)
    path = tmp_path / f"{name}.mp4"
    plain.rename(path)
    assert read(path)[0].frames == 5
    monkeypatch.chdir(tmp_path)
    assert read(f"{name}.mp4")[0].frames == 5


@pytest.mark.parametrize("name", ["http://127.0.0.1:9/a.mp4", "subfile,,start,0,end,9,,:a.mp4", "pipe:0"])
def test_names_like_urls_are_local_files(tmp_path, monkeypatch, write_media, name):
    monkeypatch.chdir(tmp_path)
    assert read(name)[0].status == "missing"
    path = pathlib.Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = write_media(tmp_path / "plain.mp4", times=np.arange(5) / 25, rate=0)
    plain.rename(path)
    assert read(name)[0].frames == 5


def test_limits(tmp_path, write_media):
    path = write_media(tmp_path / "a.mp4", times=np.arange(50) / 25, size=(64, 48))
    small = {
        "bytes": media.Limits(bytes=100),
        "pixels": media.Limits(pixels=64 * 47),
        "seconds": media.Limits(seconds=1.0),
        "sample_rate": media.Limits(sample_rate=16000),
        "streams": media.Limits(streams=1),
    }
    for name, limits in small.items():
        info, shown = read(path, limits=limits)
        assert info.status == "too_large", name
        assert "limit" in info.reason
        assert not shown.times


def test_a_sample_rate_that_nobody_has(tmp_path):
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(2_000_000_000)
        file.writeframes(bytes(2000))
    assert read(path)[0].status == "too_large"


def test_a_cover_picture_is_no_video(tmp_path):
    """An MP3 with an ID3v2 picture in front, built by hand."""
    png = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    picture = b"\x00image/png\x00\x03\x00" + png
    frame = b"APIC" + len(picture).to_bytes(4, "big") + b"\x00\x00" + picture
    size = bytes(len(frame) >> shift & 127 for shift in (21, 14, 7, 0))
    sound = tmp_path / "sound.mp3"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("mp3", rate=16000, layout="mono")
        block = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        block.sample_rate = 16000
        container.mux(stream.encode(block))
        container.mux(stream.encode())
    path = make(tmp_path / "a.mp3", b"ID3\x03\x00\x00" + size + frame + sound.read_bytes())
    info, _ = read(path)
    assert info.status == "no_video"
    assert len(info.audio) > 15000


def test_damage_of_unknown_kinds_is_not_claimed(tmp_path):
    path = make(tmp_path / "a.flac", b"anything")
    assert containers.inspect(str(path), "flac") == ("", "")
    assert containers.inspect(str(path), "avi") == ("", "")
    assert "box" in containers.inspect(str(make(tmp_path / "b", b"\0\0\0\x04abcd" * 3)), "mov").damage


def test_paths_may_be_pathlib(tmp_path):
    assert media.read(pathlib.Path(tmp_path / "none")).status == "missing"
