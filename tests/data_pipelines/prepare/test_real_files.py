"""What cameras, phones, call recorders and other programs write: mirrored, joined, resized, in old containers."""

import fractions
import struct
import zlib

import av
import cv2
import numpy as np
import pytest

from data_pipelines.clip import Clip
from data_pipelines.prepare import child_processes, containers, extract, media

# How each display matrix (a, b, c, d) shows a stored picture.
_MATRICES = {
    "identity": ((1, 0, 0, 1), lambda x: x),
    "rot90": ((0, 1, -1, 0), lambda x: cv2.rotate(x, cv2.ROTATE_90_CLOCKWISE)),
    "rot180": ((-1, 0, 0, -1), lambda x: cv2.rotate(x, cv2.ROTATE_180)),
    "rot270": ((0, -1, 1, 0), lambda x: cv2.rotate(x, cv2.ROTATE_90_COUNTERCLOCKWISE)),
    "hflip": ((-1, 0, 0, 1), lambda x: cv2.flip(x, 1)),
    "vflip": ((1, 0, 0, -1), lambda x: cv2.flip(x, 0)),
    "transpose": ((0, 1, 1, 0), cv2.transpose),
    "antitranspose": ((0, -1, -1, 0), lambda x: cv2.rotate(cv2.transpose(x), cv2.ROTATE_180)),
}


def read(path, **options):
    """What media.read gives, and the last pictures that it handed on."""
    shown = {}
    info = media.read(path, on_frame=lambda i, _, image: shown.update({i: image}), **options)
    return info, [shown[i] for i in range(info.frames)]


def tone(hertz, seconds, rate, level=0.3):
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def pitch(audio):
    return np.abs(np.fft.rfft(audio.astype(float))).argmax() * media.SAMPLE_RATE / len(audio)


@pytest.mark.parametrize("name", _MATRICES)
def test_display_matrices(tmp_path, write_media, name):
    image = np.zeros((48, 64, 3), np.uint8)
    image[:20, :30], image[:20, 30:], image[20:, :30] = 220, (30, 200, 30), (30, 30, 220)
    path = write_media(tmp_path / "a.mp4", times=np.arange(5) / 25, images=[image] * 5, rate=0)
    data = bytearray(path.read_bytes())
    header = data.index(b"tkhd") + 4 + 40
    matrix, turned = _MATRICES[name]
    for slot, value in zip((0, 4, 12, 16), matrix, strict=True):
        struct.pack_into(">i", data, header + slot, value << 16)
    path.write_bytes(data)
    info, shown = read(path, pixels="rgb24")
    assert shown[0].shape == turned(image).shape == (info.height, info.width, 3)
    assert np.abs(shown[0].astype(int) - turned(image)).mean() < 8


@pytest.mark.parametrize(("rate", "layout"), [(22050, "mono"), (44100, "stereo")])
def test_sound_whose_rate_or_channels_change_midway(tmp_path, write_media, rate, layout):
    first = write_media(tmp_path / "a.mp3", sound=tone(500, 1.2, 44100), audio_codec="mp3", options={"write_xing": "0"})
    other = write_media(
        tmp_path / "b.mp3",
        sound=tone(1500, 1.2, rate),
        rate=rate,
        layout=layout,
        audio_codec="mp3",
        options={"write_xing": "0", "id3v2_version": "0"},
    )
    joined = tmp_path / "c.mp3"
    joined.write_bytes(first.read_bytes() + other.read_bytes())
    info = media.read(joined)
    assert (info.status, info.reason) == ("no_video", "no video")
    assert 2.3 < len(info.audio) / media.SAMPLE_RATE < 2.6
    assert pitch(info.audio[1600:16000]) == pytest.approx(500, abs=20)
    assert pitch(info.audio[-16000:-1600]) == pytest.approx(1500, abs=20)


def test_a_clock_that_starts_again_goes_on(tmp_path, write_media):
    """Two recordings joined byte by byte: the second one's flash and click stay together, behind the first."""
    parts = [
        write_media(
            tmp_path / f"{i}.ts",
            times=np.arange(50) / 25,
            flash=flash,
            click=flash,
            seconds=2.0,
            audio_codec="mp2",
        )
        for i, flash in enumerate((1.9, 1.0))
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    info, shown = read(joined)
    assert info.status == "ok", info.reason
    assert 3.9 <= info.frames / 25 <= 4.3
    bright = np.array([image.mean() > 128 for image in shown])
    again = np.flatnonzero(bright[1:] & ~bright[:-1])[-1] + 1
    clicks = np.flatnonzero(np.abs(info.audio.astype(int)) > 6000) / media.SAMPLE_RATE
    second = clicks[clicks > 2.5][0]
    assert second == pytest.approx(again / 25, abs=0.08)
    assert second == pytest.approx(3.0, abs=0.2)


@pytest.mark.parametrize(
    "sizes", [(0x7FFFF024, 0x7FFFF000), (0x7FFFFFFF,) * 2, (2000000036, 2000000000), (2**32 - 1,) * 2, (0, 0)]
)
def test_wav_written_to_a_pipe_is_whole(tmp_path, sizes):
    samples = np.round(tone(440, 0.5, 16000) * 32767).astype("<i2").tobytes()
    header = struct.pack(
        "<4sI8sIHHIIHH4sI", b"RIFF", sizes[0], b"WAVEfmt ", 16, 1, 1, 16000, 32000, 2, 16, b"data", sizes[1]
    )
    path = tmp_path / "a.wav"
    path.write_bytes(header + samples)
    info = media.read(path)
    assert (info.status, info.reason, len(info.audio)) == ("no_video", "no video", 8000)


@pytest.mark.parametrize("louder", [0, 1])
def test_channels_that_cancel_leave_the_louder_one(tmp_path, louder):
    path, sound = tmp_path / "a.wav", tone(440, 1, 16000)
    levels = [1.0, -0.9] if louder == 0 else [-0.9, 1.0]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000, layout="stereo")
        values = np.round(np.stack([level * sound for level in levels], 1) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(values.reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate, frame.pts = 16000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    info = media.read(path)
    np.testing.assert_allclose(info.audio, np.round(sound * 32767), atol=1)
    assert f"the {('left', 'right')[louder]} one is taken alone" in info.reason
    assert info.status == "no_video"


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_the_default_video_stream_is_read(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    with av.open(str(path), "w") as container:
        for number, size in enumerate([(64, 48), (128, 96)]):
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            stream.disposition = av.stream.Disposition.default if number else 0
        for number, stream in enumerate(container.streams.video):
            for i in range(5):
                image = np.full((stream.height, stream.width, 3), 200 if number else 20, np.uint8)
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = i, fractions.Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    info, shown = read(path)
    assert (info.width, info.height) == (128, 96)
    assert shown[2].mean() == pytest.approx(200, abs=5)


def _write_stills(path, codec, stills, size):
    """A film of pictures that are encoded already."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "rgb24" if codec == "png" else "yuvj420p"
        for i, data in enumerate(stills):
            packet = av.Packet(data)
            packet.pts = packet.dts = i
            packet.time_base, packet.stream = fractions.Fraction(1, 25), stream
            container.mux(packet)
    return path


def _two_sizes(path, first, second):
    """Five pictures of one size, then five of the other."""
    stills = [cv2.imencode(".jpg", np.full((height, width, 3), 200, np.uint8))[1] for width, height in (first, second)]
    return _write_stills(path, "mjpeg", [still.tobytes() for still in stills for _ in range(5)], first)


def test_the_larger_size_decides_and_all_keep_their_proportions(tmp_path):
    info, shown = read(_two_sizes(tmp_path / "a.mkv", (32, 18), (128, 72)))
    assert (info.status, info.frames, info.width, info.height) == ("no_audio", 10, 128, 72)
    assert "32x18, 128x72" in info.reason
    assert all(image.shape == (72, 128, 3) and image.min() > 190 for image in shown)
    assert read(tmp_path / "a.mkv", long_side=64)[1][0].shape == (36, 64, 3)


def test_a_picture_that_turns_is_fitted_with_bars(tmp_path):
    info, shown = read(_two_sizes(tmp_path / "a.mkv", (64, 36), (36, 64)))
    assert (info.frames, info.width, info.height) == (10, 64, 36)
    assert shown[0].min() > 190
    bright = np.flatnonzero(shown[9].mean((0, 2)) > 100)
    assert len(bright) == 20  # 36 x 64 into a height of 36
    assert bright[0] == 22


_CONTAINERS = [
    ("mpg", "mpeg", "mpeg1video", "mp2"),
    ("ts", "mpegts", "mpeg2video", "mp2"),
    ("flv", "flv", "flv", "mp3"),
    ("wmv", "asf", "msmpeg4", "wmav2"),
    ("gif", "gif", "gif", ""),
    ("aac", "adts", "", "aac"),
    ("aiff", "aiff", "", "pcm_s16be"),
]


@pytest.mark.parametrize(("suffix", "muxer", "video", "audio"), _CONTAINERS, ids=[row[0] for row in _CONTAINERS])
def test_containers_of_older_datasets_are_read(tmp_path, encode_sound, suffix, muxer, video, audio):
    path = tmp_path / f"a.{suffix}"
    with av.open(str(path), "w", format=muxer) as container:
        if video:
            pictures = container.add_stream(video, rate=25)
            pictures.width, pictures.height = 64, 48
            pictures.pix_fmt = "rgb8" if video == "gif" else "yuv420p"
        if audio:
            sound = container.add_stream(audio, rate=44100, layout="mono")
            sound.bit_rate = 64_000
        for i in range(25 if video else 0):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 8 * i + 20, np.uint8), format="rgb24")
            frame.pts, frame.time_base = i, fractions.Fraction(1, 25)
            container.mux(pictures.encode(frame.reformat(format=pictures.pix_fmt)))
        if video:
            container.mux(pictures.encode())
        if audio:
            encode_sound(container, sound, tone(440, 1, 44100), 1.0, None, 0.0)
    info, shown = read(path)
    assert info.status == ("no_audio" if not audio else "ok" if video else "no_video"), info.reason
    assert abs(info.frames - 25) <= 1 if video else info.frames == 0
    if video:
        assert shown[20].mean() > shown[10].mean() + 40 > shown[0].mean() + 80
    if audio:
        assert len(info.audio) / media.SAMPLE_RATE == pytest.approx(1, abs=0.12)
        assert pitch(info.audio) == pytest.approx(440, abs=10)
    if suffix in ("wmv", "gif", "aiff"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert read(path)[0].status == "truncated"


def test_nist_sphere_is_read(tmp_path):
    samples = np.round(tone(440, 1, 16000) * 32767).astype("<i2").tobytes()
    fields = "channel_count -i 1\nsample_rate -i 16000\nsample_n_bytes -i 2\nsample_byte_format -s2 01\n"
    header = f"NIST_1A\n   1024\nsample_count -i 16000\n{fields}sample_coding -s3 pcm\nend_head\n".encode().ljust(1024)
    path = tmp_path / "a.wav"  # as TIMIT names them
    path.write_bytes(header + samples)
    info = media.read(path)
    assert (info.status, len(info.audio)) == ("no_video", 16000)
    assert pitch(info.audio) == pytest.approx(440, abs=1)
    path.write_bytes(header + samples[:20000])
    assert media.read(path).status == "truncated"


def test_an_unknown_kind_is_told_which_are_read(tmp_path):
    (tmp_path / "a.swf").write_bytes(b"FWS" + bytes(500))
    reason = media.read(tmp_path / "a.swf").reason
    for kind in containers.KINDS:
        assert kind.name in reason


def test_the_limit_of_seconds_names_its_option(tmp_path, write_media):
    path = write_media(tmp_path / "a.wav", audio_codec="pcm_s16le", seconds=2.0, rate=8000)
    info = media.read(path, limits=media.Limits(seconds=1.0))
    assert info.status == "too_large"
    assert "2 s, limit 1 s (crops.max_seconds; --max_seconds" in info.reason


def _boxes(data):
    """(kind, start, end) of the top-level boxes."""
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 8], at, at + length
        at += length


def _inserted(data, path, box):
    """An MP4 with one more box, the last in those that `path` leads through, whose lengths grow."""
    at, end = next((start, end) for kind, start, end in _boxes(data) if kind == path[0])
    length = struct.pack(">I", end - at + len(box))
    if len(path) == 1:
        return data[:at] + length + data[at + 4 : end] + box + data[end:]
    return data[:at] + length + data[at + 4 : at + 8] + _inserted(data[at + 8 : end], path[1:], box) + data[end:]


def _fragmented(path, write_media, flags, mehd):
    """The bytes of a film of 2 s in fragments of 0.4 s."""
    options = {"movflags": f"+frag_keyframe+default_base_moof{flags}", "frag_duration": "400000"}
    write_media(path, times=np.arange(50) / 25, rate=0, bframes=0, options=options)
    data = path.read_bytes()
    assert b"mehd" not in data
    return _inserted(data, [b"moov", b"mvex"], struct.pack(">I4sII", 16, b"mehd", 0, 2000)) if mehd else data


@pytest.mark.parametrize(
    ("flags", "mehd", "whole_is_known"),
    [
        ("+empty_moov", False, True),
        ("+empty_moov+skip_trailer", False, False),
        ("+empty_moov+skip_trailer", True, True),
        ("+dash+delay_moov+global_sidx", False, True),
    ],
    ids=["mfra", "nothing", "mehd", "sidx"],
)
def test_fragments_cut_at_an_edge_are_noticed_where_that_can_be_told(
    tmp_path, write_media, flags, mehd, whole_is_known
):
    """Neither the header's count nor its duration tells it: both are 0 or shrink with the file."""
    path = tmp_path / "a.mp4"
    data = _fragmented(path, write_media, flags, mehd)
    path.write_bytes(data)
    info, _ = read(path)
    assert (info.status, info.frames) == ("no_audio", 50)
    assert ("whether more followed cannot be told" in info.reason) == (not whole_is_known)
    ends = [end for kind, _, end in _boxes(data) if kind == b"mdat"]
    assert len(ends) > 2
    for end in ends[:-1]:
        path.write_bytes(data[:end])
        info, _ = read(path)
        assert info.frames < 50
        if mehd or "sidx" in flags:
            assert info.status == "truncated" and ("before the header says" if mehd else "index says") in info.reason
        else:  # as a whole film without an index looks
            assert info.status == "no_audio" and "whether more followed cannot be told" in info.reason


def test_a_fragment_without_its_samples_is_noticed(tmp_path, write_media):
    path = tmp_path / "a.mp4"
    data = _fragmented(path, write_media, "+empty_moov+skip_trailer", False)
    start, end = next((start, end) for kind, start, end in _boxes(data) if kind == b"mdat")
    path.write_bytes(data[:start])
    assert "lack" in containers.inspect(str(path), "mov").damage and read(path)[0].status != "no_audio"
    path.write_bytes(data[:start] + struct.pack(">I", end - start - 9) + data[start + 4 : end - 9] + data[end:])
    assert "the fragments lack 9 bytes of the samples that they declare" in containers.inspect(str(path), "mov").damage
    at = data.index(b"trun")
    path.write_bytes(data[: at + 8] + b"\xff" * 4 + data[at + 12 :])
    assert "the header of the fragment at byte" in containers.inspect(str(path), "mov").damage


@pytest.mark.parametrize(("space", "red", "blue"), [(1, 0.2126, 0.0722), (5, 0.299, 0.114), (9, 0.2627, 0.0593)])
@pytest.mark.parametrize("layout", ["yuv420p", "yuv420p10le"])
def test_colours_follow_the_matrix_that_the_file_names(tmp_path, space, red, blue, layout):
    """BT.709, BT.601 and BT.2020, 8 and 10 bits, against the closed form of the colour difference signals."""
    colours = np.array([[200, 90, 40], [40, 160, 220], [128, 128, 128]]) / 255
    path, deep = tmp_path / "a.mkv", layout.endswith("10le")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, layout
        stream.codec_context.colorspace, stream.codec_context.color_range = space, 1
        for i, (r, g, b) in enumerate(colours):
            luma = red * r + (1 - red - blue) * g + blue * b
            values = 16 + 219 * luma, 128 + 112 * (b - luma) / (1 - blue), 128 + 112 * (r - luma) / (1 - red)
            frame = av.VideoFrame(64, 48, layout)
            for plane, value in zip(frame.planes, values, strict=True):
                kind = np.uint16 if deep else np.uint8
                plane.update(
                    np.full(plane.buffer_size // (1 + deep), round(value * (4 if deep else 1)), kind).tobytes()
                )
            frame.pts, frame.time_base, frame.colorspace, frame.color_range = i, fractions.Fraction(1, 25), space, 1
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    _, shown = read(path, pixels="rgb24")
    for image, colour in zip(shown, colours, strict=True):
        assert np.abs(image[24, 32] - 255 * colour).max() <= 4


def _bombs(folder):
    """Files whose headers promise 65535 x 65535 pixels, or hours of sound."""

    def chunk(kind, data):
        return struct.pack(">I4s", len(data), kind) + data + struct.pack(">I", zlib.crc32(kind + data))

    png = chunk(b"IHDR", struct.pack(">IIBBBBB", 65535, 65535, 8, 2, 0, 0, 0)) + chunk(
        b"IDAT", zlib.compress(bytes(10**7))
    )
    jpeg = bytearray(cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1])
    start = jpeg.index(b"\xff\xc0")
    jpeg[start + 5 : start + 9] = b"\xff" * 4
    for name, codec, data in (("png", "png", b"\x89PNG\r\n\x1a\n" + png), ("jpg", "mjpeg", bytes(jpeg))):
        (folder / name).mkdir()
        (folder / name / f"0.{name}").write_bytes(data)
        _write_stills(folder / f"{name}.mov", codec, [data] * 20, (64, 48))
        film = (folder / f"{name}.mov").read_bytes()
        (folder / f"{name}_header.mov").write_bytes(film.replace(struct.pack(">HH", 64, 48), b"\xff" * 4))
    facts = 16000 << 44 | 15 << 36 | 16000 * 3600 * 30  # rate, bits, samples
    flac = b"fLaC\x80\0\0\x22" + struct.pack(">HH", 4096, 4096) + bytes(6) + facts.to_bytes(8, "big") + bytes(16)
    (folder / "hours.flac").write_bytes(flac + bytes(5000))
    sizes = 10**9 + 36, 10**9
    wav = struct.pack("<4sI8sIHHIIHH4sI", b"RIFF", sizes[0], b"WAVEfmt ", 16, 1, 1, 8000, 8000, 1, 8, b"data", sizes[1])
    with open(folder / "hours.wav", "wb") as file:
        file.write(wav)
        file.truncate(10**9)  # of holes
    return sorted(folder.iterdir())


def test_headers_that_promise_too_much_cost_nothing(tmp_path):
    paths = _bombs(tmp_path)
    crops = extract.Crops(face="whole", mouth=False)
    jobs = [extract.Job(Clip(path.name, str(path), 0), crops) for path in paths]
    caps = child_processes.Caps(memory=1 << 30, cpu_seconds=10, wall_seconds=60)
    outcomes = dict(child_processes.run(extract.extract, jobs, workers=1, caps=caps))
    for i, path in enumerate(paths):
        assert getattr(outcomes[i], "status", outcomes[i]) in ("too_large", "undecodable"), path.name
        assert outcomes[i].reason
    assert {path.name: outcomes[i].status for i, path in enumerate(paths)}["hours.wav"] == "too_large"
