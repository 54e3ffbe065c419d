"""What a record holds: crops, sound and times as they were asked for."""

import dataclasses
import re

import cv2
import numpy as np
import pytest
from prepared_clips import CROPS, clip_of, image

from data_pipelines.prepare import extract, faces, media, records
from data_pipelines.talking_heads import camera


def test_records_hold_what_the_contract_says(prepared, clips):
    train = records.Records(prepared, "train")
    assert [row.clip for row in train.index] == [clips[0], clips[2], clips[4]]  # the manifest's order
    for i in range(len(train)):
        record, row = train[i], train.index[i]
        count = round(25 * (1.0 + 0.4 * i))
        assert record["clip"] == row.clip
        assert (row.status, row.frames, row.duration) == ("ok", count, count / 25)
        assert len(record["frames"]) == len(record["mouth"]) == count
        assert image(record["frames"][0]).shape == (48, 48, 3)
        assert image(record["mouth"][-1], cv2.IMREAD_UNCHANGED).shape == (32, 32)
        assert record["boxes"].shape == (count, 4)
        assert record["boxes"].dtype == record["times"].dtype == np.float32
        np.testing.assert_allclose(record["times"], np.arange(count) / 25, atol=1e-3)
        assert record["found"].dtype == np.uint8
        assert record["found"].all()
        assert record["audio"][:].dtype == np.int16
        assert len(record["audio"]) == row.audio_samples
        assert abs(row.audio_samples - count * 640) < 320
        assert (record["audio_present"], record["video_present"], record["status"]) == (1, 1, "ok")
        assert record["source_sha256"] == extract.sha256(row.clip.path)
        assert record["crops"] == dataclasses.asdict(CROPS)
        assert "PyAV" in record["decoder"]
    with pytest.raises(IndexError, match="record 3 of 3"):
        train[3]


def test_crops_are_cut_where_the_landmarks_say(prepared, clips):
    record = records.Records(prepared, "val")[0]
    shown = []
    media.read(clips[1].path, on_frame=lambda i, time, picture: shown.append(picture))
    maps = faces.face_transforms(faces.given(clips[1].landmarks_path), 48, CROPS.margin)
    for i in (0, 10, len(shown) - 1):
        expected = faces.crop(shown[i], maps[i], 48)
        assert np.abs(image(record["frames"][i]).astype(int) - expected).mean() < 4
    np.testing.assert_allclose(record["boxes"], faces.boxes(maps, 48), atol=1e-3)


def _extracted(clip, tmp_path, pixels=0, pictures=0):
    """The outcome of a clip with a mask film: a half white one, `pixels` larger, `pictures` longer than its clip."""
    shown = []
    media.read(clip.path, on_frame=lambda i, time, picture: shown.append(picture.copy()))
    height, width = shown[0].shape[:2]
    mask = np.zeros((len(shown) + pictures, height + pixels, width + pixels), np.uint8)
    mask[3:, :, : width // 2] = 255
    camera.write_mask(tmp_path / "mask.mp4", mask)
    clip = dataclasses.replace(clip, mask_path=str(tmp_path / "mask.mp4"))
    return extract.extract(extract.Job(clip, CROPS)), mask


def test_masks_are_cut_as_the_face_is(clips, tmp_path):
    outcome, mask = _extracted(clips[1], tmp_path)
    maps = faces.face_transforms(faces.given(clips[1].landmarks_path), 32, CROPS.margin)
    cut = [image(data, cv2.IMREAD_UNCHANGED) for data in outcome.record["mask"]]
    assert (outcome.status, outcome.reason, len(cut)) == ("ok", "", outcome.frames)
    assert cut[0].shape == (32, 32) and cut[0].max() == 0 and 0.1 < (cut[5] > 127).mean() < 0.9
    for i in (5, len(cut) - 1):
        expected = faces.crop(mask[i], maps[i], 32, cv2.BORDER_CONSTANT)
        assert np.abs(cut[i].astype(int) - expected).mean() < 4


@pytest.mark.parametrize(
    ("wrong", "message"), [({"pixels": 2}, "x.* pixels, expected"), ({"pictures": 3}, "pictures, expected")]
)
def test_a_mask_film_of_another_size_is_left_out_with_a_word(clips, tmp_path, wrong, message):
    outcome, _ = _extracted(clips[1], tmp_path, **wrong)
    assert outcome.status == "ok" and outcome.record["mask"] == [] and outcome.record["frames"]
    assert re.search(rf"the mask film .*mask.mp4 has \d+.*{message} \d+.* as its clip; it is left out", outcome.reason)


def test_a_missing_mask_film_is_left_out_with_a_word(clips, tmp_path):
    clip = dataclasses.replace(clips[1], mask_path=str(tmp_path / "none.mp4"))
    outcome = extract.extract(extract.Job(clip, CROPS))
    assert outcome.status == "ok" and outcome.record["mask"] == []
    assert "none.mp4 is missing" in outcome.reason


def test_whole_pictures_need_no_face(tmp_path, write_media):
    path = write_media(tmp_path / "a.mp4", times=np.arange(10) / 25, size=(96, 64), flash=0.0)
    crops = records.Crops(face="whole", face_size=48, mouth=False, codec="png")
    out = records.prepare([clip_of(path, split="val")], tmp_path / "out", crops=crops, workers=1)
    record = records.Records(out, "val")[0]
    square = image(record["frames"][0])
    assert square.shape == (48, 48, 3)
    assert square[24].min() > 180
    assert square[:7].max() == square[-7:].max() == 0
    assert record["mouth"] == []
    assert record["status"] == "ok"
    np.testing.assert_allclose(record["boxes"][0], [-0.5, -16.5, 95.5, 79.5], atol=0.01)


@pytest.mark.parametrize(("fps", "video_start", "audio_start"), [(25, 0.0, 0.0), (30, 0.3, 0.0), (24, 0.0, 0.25)])
def test_flash_and_click_stay_together_in_a_record(tmp_path, write_media, fps, video_start, audio_start):
    times = video_start + np.arange(3 * fps) / fps
    moment = float(times[2 * fps])
    path = write_media(tmp_path / "a.mp4", times=times, flash=moment, click=moment, audio_start=audio_start)
    crops = records.Crops(face="whole", face_size=32, mouth=False)
    out = records.prepare([clip_of(path, split="test")], tmp_path / "out", crops=crops, workers=1)
    record = records.Records(out, "test")[0]
    flash = next(i for i, data in enumerate(record["frames"]) if image(data).mean() > 128) / 25
    click = np.argmax(np.abs(record["audio"][:].astype(int)) > 6000) / 16000
    assert flash == 2.0
    assert abs(click - flash) < 0.005


@pytest.mark.parametrize("codec", ["jpeg", "png", "webp"])
def test_codecs(clips, codec):
    quality = 101 if codec == "webp" else 95
    crops = records.Crops(face_size=48, codec=codec, quality=quality, mouth=False)
    record = extract.extract(extract.Job(clips[0], crops)).record
    lossless = extract.extract(extract.Job(clips[0], dataclasses.replace(crops, codec="png"))).record
    assert record["mouth"] == []
    error = np.abs(image(record["frames"][3]).astype(int) - image(lossless["frames"][3]))
    assert error.max() == 0 if codec != "jpeg" else 0 < error.mean() < 3


def test_sound_apart_from_the_picture(tmp_path, talking_clip, write_media):
    path = talking_clip(tmp_path, "a")
    tone = 0.5 * np.sin(np.arange(32000) * 0.3)
    sound = write_media(tmp_path / "b.wav", sound=tone, rate=16000, audio_codec="pcm_s16le")
    clip = dataclasses.replace(clip_of(path), audio_path=str(sound))
    outcome = extract.extract(extract.Job(clip, CROPS))
    audio = np.frombuffer(outcome.record["audio"], np.int16)
    assert outcome.status == "ok"
    assert len(audio) == 16000  # cut where the pictures end
    np.testing.assert_allclose(audio, np.round(tone[:16000] * 32767), atol=2)
    gone = dataclasses.replace(clip, audio_path=str(tmp_path / "none.wav"))
    outcome = extract.extract(extract.Job(gone, CROPS))
    assert (outcome.status, outcome.audio_samples) == ("no_audio", 0)
    assert "the sound file is missing" in outcome.reason


def test_a_face_that_goes_away_for_long_is_told(tmp_path, talking_clip):
    path = talking_clip(tmp_path, "a", 4.0)
    data = dict(np.load(path.with_suffix(".npz")))
    data["landmarks"][30:70] = np.nan
    np.savez(path.with_suffix(".npz"), **data)
    outcome = extract.extract(extract.Job(clip_of(path), CROPS))
    assert (outcome.status, outcome.frames) == ("ok", 100)
    assert 58 <= outcome.found <= 62
    assert "no face for 1." in outcome.reason
    strict = dataclasses.replace(CROPS, min_found=0.9)
    outcome = extract.extract(extract.Job(clip_of(path), strict))
    assert outcome.status == "no_face"
    assert "of 100 frames" in outcome.reason


@pytest.mark.parametrize(
    "fields",
    [{"face": "head"}, {"codec": "gif"}, {"face_size": 0}, {"margin": -1}, {"quality": 0}, {"min_found": 2}],
)
def test_crops_that_make_no_sense(fields):
    with pytest.raises(ValueError, match=f"crops.{next(iter(fields))} is"):
        records.Crops(**fields)


def test_the_detector_is_part_of_what_records_are(tmp_path, write_media, yunet_model):
    """One white square that YuNet's small model takes for a face, and dlib does not."""
    picture = np.zeros((480, 640, 3), np.uint8)
    picture[128:160, 160:192] = 255
    path = write_media(tmp_path / "a.mp4", times=np.arange(6) / 25, images=[picture] * 6)
    clip = clip_of(path, split="val")
    plain = dataclasses.replace(CROPS, face_size=32)
    crops = dataclasses.replace(plain, yunet=str(yunet_model(tmp_path / "one.onnx")))
    out = records.prepare([clip], tmp_path / "out", crops=crops, workers=1)
    record = records.Records(out, "val")[0]
    sha = extract.sha256(tmp_path / "one.onnx")
    assert record["found"].all()
    assert record["crops"]["yunet"] == records.read_header(out)["crops"]["yunet"] == sha
    assert record["detector"].startswith("YuNet (one.onnx) with the landmarks of dlib")
    (tmp_path / "one.onnx").rename(tmp_path / "moved.onnx")
    moved = dataclasses.replace(crops, yunet=str(tmp_path / "moved.onnx"))
    assert records.is_fresh(out, [clip], moved)  # it is the model that counts
    assert not records.is_fresh(out, [clip], plain)
    other = dataclasses.replace(crops, yunet=str(yunet_model(tmp_path / "other.onnx", sure=300)))
    assert not records.is_fresh(out, [clip], other)
    assert extract.extract(extract.Job(clip, other)).status == "no_face"
    assert extract.extract(extract.Job(clip, plain)).status == "no_face"
    gone = dataclasses.replace(crops, yunet=str(tmp_path / "gone.onnx"))
    with pytest.raises(FileNotFoundError, match=r"gone\.onnx': there is no such file"):
        records.prepare([clip], tmp_path / "gone", crops=gone)
