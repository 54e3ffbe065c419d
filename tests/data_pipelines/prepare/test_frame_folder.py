"""Folders of extracted frames as clips."""

import os

import cv2
import numpy as np
import pytest

from data_pipelines.clip import Clip
from data_pipelines.prepare import extract, frame_folder, media


def read(path, **options):
    images, times = {}, {}
    info = media.read(path, on_frame=lambda i, t, x: (images.update({i: x}), times.update({i: t})), **options)
    return info, list(images.values()), list(times.values())


def _pictures(folder, count=12, suffix=".png", size=(48, 64)):
    """Numbered pictures, each grey in another shade; returns the shades."""
    folder.mkdir()
    shades = 20 + 15 * np.arange(count)
    for i, shade in enumerate(shades):
        image = np.full((*size, 3), (shade, shade // 2, 255 - shade), np.uint8)
        kind = suffix or ".jpg"
        (folder / f"{3 * i}{suffix}").write_bytes(cv2.imencode(kind, image)[1].tobytes())
    return shades


@pytest.mark.parametrize("suffix", [".png", ".jpg", ""])
def test_a_folder_of_pictures_is_shown_25_a_second(tmp_path, suffix):
    shades = _pictures(tmp_path / "a", suffix=suffix)  # 0, 3, 6, 9, 12: numbers, not words, give the order
    (tmp_path / "a" / "notes.txt").write_text("none")
    (tmp_path / "a" / ".hidden.png").write_text("none")
    info, images, times = read(tmp_path / "a")
    assert (info.status, info.frames, info.width, info.height, info.frame_rate) == ("no_audio", 12, 64, 48, 25.0)
    assert info.codecs == ("png" if suffix == ".png" else "mjpeg")
    assert times == pytest.approx(np.arange(12) / 25)
    for image, shade in zip(images, shades, strict=True):
        assert image.shape == (48, 64, 3)
        assert np.abs(image.mean((0, 1)) - (shade, shade // 2, 255 - shade)).max() < 3
    assert media.read(tmp_path / "a", audio=False).status == "ok"
    assert read(tmp_path / "a", long_side=32)[1][0].shape == (24, 32, 3)


def test_damaged_pictures_leave_the_others_in_time(tmp_path):
    shades = _pictures(tmp_path / "a")
    whole = (tmp_path / "a" / "9.png").read_bytes()
    (tmp_path / "a" / "9.png").write_bytes(b"")
    (tmp_path / "a" / "12.png").write_bytes(b"ffconcat version 1.0\nfile /etc/passwd\n")
    info, images, _ = read(tmp_path / "a")
    assert (info.status, info.frames) == ("truncated", 12)
    assert "2 of 12 pictures cannot be decoded" in info.reason
    assert images[4].mean((0, 1))[0] == pytest.approx(shades[2], abs=1)
    assert images[5].mean((0, 1))[0] == pytest.approx(shades[5], abs=1)
    for name in os.listdir(tmp_path / "a"):
        (tmp_path / "a" / name).write_bytes(whole[:20])
    assert read(tmp_path / "a")[0].status == "undecodable"


def test_folders_that_ask_for_too_much_or_hold_nothing(tmp_path):
    _pictures(tmp_path / "a", size=(100, 100))
    info = read(tmp_path / "a", limits=media.Limits(pixels=5000))[0]
    assert (info.status, info.frames) == ("undecodable", 0)
    assert "12 of 12 pictures cannot be decoded" in info.reason
    info = read(tmp_path / "a", limits=media.Limits(seconds=0.4))[0]
    assert (info.status, info.reason) == (
        "too_large",
        "0.48 s, limit 0.4 s (crops.max_seconds; --max_seconds of experiments.prepare)",
    )
    assert read(tmp_path / "a", limits=media.Limits(bytes=500))[0].status == "too_large"
    (tmp_path / "b").mkdir()
    info = read(tmp_path / "b")[0]
    assert (info.status, info.reason) == ("missing", "a folder without pictures (JPEG, PNG)")


def test_frames_may_be_fewer_a_second(tmp_path):
    shades = _pictures(tmp_path / "a", count=5)
    info, images, _ = read(tmp_path / "a", fps=5)
    assert (info.frames, info.frame_rate) == (25, 5.0)
    for i, image in enumerate(images):
        assert abs(int(image[0, 0, 0]) - shades[i // 5]) <= 1


def test_the_rate_of_a_clip_reaches_its_record(tmp_path):
    _pictures(tmp_path / "a", count=5)
    crops = extract.Crops(face="whole", mouth=False, face_size=16)
    job = extract.Job(Clip("a", str(tmp_path / "a"), 0, fps=5.0), crops)
    assert extract.extract(job).frames == 25


@pytest.mark.parametrize("kind", [".jpg", ".png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation, kind):
    """As OpenCV shows the same JPEG; a PNG as its JPEG."""
    from PIL import Image

    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:20, :30], picture[:20, 30:], picture[20:, :30] = 220, (30, 200, 30), (30, 30, 220)
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "a").mkdir()
    for path in (tmp_path / "a" / f"0{kind}", tmp_path / "reference.jpg"):
        Image.fromarray(picture).save(path, exif=exif, **({"quality": 98} if path.suffix == ".jpg" else {}))
    (image,) = read(tmp_path / "a")[1]
    reference = cv2.imread(str(tmp_path / "reference.jpg"))
    assert image.shape == reference.shape == ((48, 64, 3) if orientation < 5 else (64, 48, 3))
    assert np.abs(image.astype(int) - reference).mean() < 3


@pytest.mark.parametrize("kind", ["cmyk", "alpha", "16 bits", "16 bits grey", "palette"])
def test_colours_of_rare_pictures(tmp_path, kind):
    from PIL import Image

    blocks = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8).repeat(16, 0).repeat(16, 1)
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / ("0.jpg" if kind == "cmyk" else "0.png")
    wanted = blocks
    if kind == "cmyk":
        Image.fromarray(blocks).convert("CMYK").save(path, quality=98)
    elif kind == "alpha":  # ffmpeg shows the colours whatever their alpha
        Image.fromarray(np.dstack([blocks, blocks[..., 1]])).save(path)
    elif kind == "palette":
        Image.fromarray(blocks).quantize(64).save(path)
    else:
        wanted = blocks if kind == "16 bits" else np.repeat(blocks[..., :1], 3, 2)
        cv2.imwrite(str(path), np.uint16(wanted if kind == "16 bits" else wanted[..., 0])[..., ::1] * np.uint16(257))
        wanted = wanted[..., ::-1] if kind == "16 bits" else wanted
    (image,) = read(tmp_path / "a", pixels="rgb24")[1]
    assert np.abs(image.astype(int) - wanted).max() <= 3


def test_pictures_of_several_sizes_keep_their_proportions(tmp_path):
    (tmp_path / "a").mkdir()
    for i, size in enumerate([(30, 40), (60, 80), (80, 60)]):
        cv2.imwrite(str(tmp_path / "a" / f"{i}.png"), np.full((*size, 3), 200, np.uint8))
    info, images, _ = read(tmp_path / "a")
    assert (info.status, info.width, info.height, info.frames) == ("no_audio", 80, 60, 3)
    assert "40x30, 80x60, 60x80" in info.reason
    assert images[0].min() == images[1].min() == 200
    columns = np.flatnonzero(images[2].max((0, 2)) > 100)
    assert (images[2][:, columns].min(), len(columns)) == (200, 45)  # 60 high, so 45 wide, in the middle
    assert columns[0] in (17, 18)


def test_what_a_folder_holds_is_told_from_its_names_sizes_and_bytes(tmp_path):
    folder = tmp_path / "a"
    _pictures(folder, count=3)
    digest, stamp = extract.sha256(folder), frame_folder.stamp(folder)
    assert stamp[0] == sum(path.stat().st_size for path in folder.iterdir())
    (folder / "notes.txt").write_text("none")
    assert extract.sha256(folder) == digest
    data = (folder / "3.png").read_bytes()
    (folder / "3.png").rename(folder / "4.png")
    assert extract.sha256(folder) != digest
    (folder / "4.png").rename(folder / "3.png")
    assert extract.sha256(folder) == digest
    (folder / "3.png").write_bytes(data[:-1] + b"x")
    assert extract.sha256(folder) != digest
    assert frame_folder.stamp(folder) != stamp
