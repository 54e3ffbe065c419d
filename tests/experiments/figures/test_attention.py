"""The attention figure: what it draws is where the attention was, and what does not fit is refused."""

import cv2
import matplotlib
import numpy as np
import pytest

from experiments.figures import attention, style
from experiments.figures.attention import AttentionMaps

RNG = np.random.default_rng(0)
AUDIO = (RNG.normal(size=25600) * 1000).astype(np.int16)


def clip(**fields):
    usual = {
        "title": "a.mp4 · face_swap",
        "window": 1.6,
        "frames": RNG.integers(0, 255, (4, 64, 64, 3)).astype(np.uint8),
        "image_attention": RNG.random((4, 8, 8)),
        "audio": AUDIO,
        "over_time": {"audio": RNG.random(20), "video": RNG.random(5), "sync": RNG.random(40)},
        "label": 1,
        "start": 2.0,
        "scores": {"score": 0.93, "image": 0.2},
    }
    return AttentionMaps(**{**usual, **fields})


@pytest.mark.parametrize(
    "clips",
    [
        [clip(label=0), clip(label=-1, title="t" * 300)],
        [clip(frames=None, image_attention=None)],
        [clip(audio=None, over_time={}), clip(audio=AUDIO / 32768, spans=[(1.0, 2.5)])],
        [AttentionMaps("nothing", 1.6)],
        [clip(image_attention=None)],
        [clip(audio=np.zeros(25600, np.int16), over_time={"audio": np.zeros(3), "depth": np.ones(2)})],
        [clip(audio=AUDIO[:10])],
        [clip(frames=np.zeros((9, 20, 30, 3), np.uint8), image_attention=np.zeros((9, 14, 14)))],
        [clip(frames=np.zeros((1, 8, 8, 3), np.uint8), image_attention=np.ones((1, 1, 1))), clip()],
    ],
)
def test_clips_with_and_without_streams(tmp_path, clips):
    style.save(attention.draw(clips, title="Attention"), tmp_path / "attention.png")
    assert [path.name for path in tmp_path.iterdir()] == ["attention.png"]


def test_it_is_labelled():
    figure = attention.draw([clip()])
    said = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
    assert {"2.20 s", "2.60 s", "3.00 s", "3.40 s", "time in the clip (s)", "dB below peak"} <= set(said)
    assert "score 0.93 · image 0.20" in said


def test_heat_lies_where_the_attention_is_and_scale_does_not_matter():
    maps = np.zeros((4, 8, 8))
    maps[:, 6, 1] = 0.01
    heats = []
    for factor in (1, 1e6):
        figure = attention.draw([clip(image_attention=maps * factor)])
        pictures = [image for image in figure.findobj(matplotlib.image.AxesImage) if image.get_cmap().name == "inferno"]
        heats.append(np.asarray(pictures[0].get_array()))
    np.testing.assert_allclose(heats[0], heats[1])
    row, column = np.unravel_index(heats[0].argmax(), heats[0].shape)
    assert row // 8 == 6 and column // 8 == 1


def test_enlarging_is_bilinear():
    np.testing.assert_allclose(attention._enlarge(np.full((3, 5), 0.7), (31, 17)), 0.7)
    heat = RNG.random((8, 8))
    np.testing.assert_allclose(
        attention._enlarge(heat, (64, 64)),
        cv2.resize(heat, (64, 64), interpolation=cv2.INTER_LINEAR),
        atol=1e-6,
    )


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"image_attention": np.ones((3, 8, 8))}, "3 maps for 4 frames"),
        ({"frames": None}, "4 maps for none frames"),
        ({"image_attention": np.ones((8, 8))}, r"image_attention .* 3 axes .* \(8, 8\)"),
        ({"over_time": {"audio": np.array([0.1, -0.1])}}, "audio_attention .* not negative"),
        ({"over_time": {"video": np.array([np.nan])}}, "video_attention .* finite"),
        ({"over_time": {"video": np.zeros(0)}}, "video_attention"),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        attention.draw([clip(**fields)])


def test_no_clips_is_refused():
    with pytest.raises(ValueError, match="at least one clip"):
        attention.draw([])


def test_maps_of_a_batch_sum_over_the_picture_and_leave_out_absent_streams(tmp_path):
    batch = {
        "image": RNG.integers(0, 255, (2, 4, 64, 64, 3)).astype(np.uint8),
        "audio": np.stack([AUDIO, AUDIO]),
        "video": np.zeros((2, 20, 48, 48, 3), np.uint8),
        "image_mask": np.array([True, True]),
        "audio_mask": np.array([True, False]),
        "video_mask": np.array([True, True]),
        "window_start": np.array([0.0, 1.5], np.float32),
        "label": np.array([0, 1]),
    }
    model = {
        "image": np.full((2, 4, 8, 8), 0.5 / 256),
        "audio": np.full((2, 10), 0.02),
        "video": np.broadcast_to(np.arange(5.0)[:, None, None] / 30 / 9, (2, 5, 3, 3)),
        "sync": np.array([[1e-6] * 40, [0] * 40]),
    }
    first, second = (attention.of_batch(batch, model, i, title="t", window=1.6, scores={}) for i in range(2))
    np.testing.assert_allclose(first.over_time["video"], np.arange(5) / 30)
    assert set(first.over_time) == {"audio", "video", "sync"}
    assert first.shares == pytest.approx(
        {"image": 0.5 / 1.0333, "audio": 0.2 / 1.0333, "video": 0.3333 / 1.0333, "sync": 0}, abs=1e-3
    )
    assert second.audio is None and set(second.over_time) == {"video"} and set(second.shares) == {"image", "video"}
    assert (second.start, second.label) == (1.5, 1)
    figure = attention.draw([first, second])
    assert "attention: image 48 %, audio 19 %, video 32 %, sync 0 %" in [
        t.get_text() for t in figure.findobj(matplotlib.text.Text)
    ]
