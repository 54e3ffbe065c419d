"""Augmentations: uint8 and int16 kept, alike over frames and streams, the identity at level 0, and right in amount."""

import dataclasses

import cv2
import numpy as np
import pytest
import scipy.signal

from data_pipelines.loading import transforms as t

RNG = np.random.default_rng
PICTURES = [
    *(t.HorizontalFlip, t.ResizedCrop, t.ShiftScaleRotate, t.ColourJitter, t.Blur, t.Noise, t.Jpeg, t.Downscale),
    *(t.Erase, t.Recompress, t.Exposure),
]
ORDERS = [t.ShuffleFrames, t.StillFrames, t.DropFrames, t.LowerRate]
SOUNDS = [t.Gain, t.AudioNoise, t.BandLimit, t.Reverb, t.AudioCodec, t.Pitch]
LEVEL_0 = [
    t.ResizedCrop(1, side=(1, 1)),
    t.ShiftScaleRotate(1, shift=0, scale=(1, 1), degrees=0),
    t.ColourJitter(1, brightness=0, contrast=0, saturation=0, hue=0),
    t.Blur(1, sigma=(0, 0)),
    t.Noise(1, sigma=(0, 0)),
    t.Exposure(1, sigma=(0, 0)),
    t.DropFrames(1, share=(0, 0)),
    t.LowerRate(1, every=1),
    t.Downscale(1, factor=(1, 1)),
    t.Erase(1, area=(0, 0)),
    t.Gain(1, db=(0, 0)),
    t.AudioNoise(1, snr=(200, 200)),
    t.Reverb(1, direct=(200, 200)),
    t.BandLimit(1, low=(0, 0), high=(1e9, 1e9)),
    t.Pitch(1, semitones=(0, 0)),
    t.Speed(1, rate=(1, 1)),
]


def picture(size, rng=None):
    """A smooth colour picture with structure, the same at any size."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    waves = [128 + 80 * np.sin(2 * np.pi * (a * x + b * y) + c) for a, b, c in ((1, 0, 0), (0, 2, 1), (1, -1, 2))]
    return np.rint(np.stack(waves, -1)).astype(np.uint8)


def example(**absent):
    face, large = picture(48), picture(96)
    sound = np.rint(3000 * RNG(0).standard_normal(16_000)).astype(np.int16)
    streams = {"image": np.stack([large] * 3), "video": np.stack([face] * 5), "audio": sound}
    streams["mouth"] = np.stack([cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)[..., None]] * 5)
    masks = {f"{name}_mask": np.bool_(absent.get(name, True)) for name in streams}
    valid = {f"{n}_valid": np.full(25 if n == "audio" else len(streams[n]), absent.get(n, True)) for n in streams}
    return streams | masks | valid | {"label": np.int32(1)}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize("kind", PICTURES + SOUNDS)
def test_keeps_shapes_types_and_everything_else(kind):
    before = example()
    kept = {name: value.copy() for name, value in before.items()}
    after = kind(p=1.0)(before, RNG(1))
    assert_same(before, kept)  # the input is left alone
    assert {k: (v.shape, v.dtype) for k, v in after.items()} == {k: (v.shape, v.dtype) for k, v in before.items()}
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == ({"audio"} if kind in SOUNDS else set(kind().streams))
    assert all(v.flags.c_contiguous for v in after.values() if v.ndim)


@pytest.mark.parametrize("kind", PICTURES + SOUNDS)
def test_is_a_function_of_the_generator(kind):
    assert_same(kind(p=1.0)(example(), RNG(7)), kind(p=1.0)(example(), RNG(7)))
    if kind is not t.HorizontalFlip:
        other = kind(p=1.0)(example(), RNG(8))
        assert any(not np.array_equal(kind(p=1.0)(example(), RNG(7))[k], other[k]) for k in ("image", "audio"))


@pytest.mark.parametrize("kind", PICTURES + SOUNDS)
def test_with_p_0_is_the_identity_and_p_is_the_rate(kind):
    before = example()
    rng = RNG(0)
    for _ in range(20):
        assert_same(kind(p=0.0)(before, rng), before)
    if kind is t.Gain:
        changed = sum(kind(p=0.3)(before, rng) is not before for _ in range(1000))
        assert 240 < changed < 360


@pytest.mark.parametrize("transform", LEVEL_0, ids=lambda x: type(x).__name__)
def test_level_0_is_the_identity(transform):
    assert_same(transform(example(), RNG(3)), example())


@pytest.mark.parametrize("kind", PICTURES + SOUNDS)
def test_leaves_absent_streams_alone(kind):
    absent = dict.fromkeys(("image", "video", "mouth", "audio"), False)
    assert_same(kind(p=1.0)(example(**absent), RNG(0)), example(**absent))
    kind(p=1.0)({"label": np.int32(0)}, RNG(0))  # a config without those streams


@pytest.mark.parametrize("kind", [k for k in PICTURES if k not in (t.Noise, t.Recompress, t.Exposure)])
def test_is_alike_over_the_frames(kind):
    after = kind(p=1.0)(example(), RNG(2))
    for stream in ("image", "video", "mouth"):
        np.testing.assert_array_equal(after[stream], np.broadcast_to(after[stream][:1], after[stream].shape))


@pytest.mark.parametrize("kind", [k for k in PICTURES if k not in (t.Noise, t.Jpeg, t.Recompress)])
def test_is_alike_over_the_streams(kind):
    """The large picture, shrunk, shows what the small one shows."""
    for seed in range(5):
        after = kind(p=1.0)(example(), RNG(seed))
        small = cv2.resize(after["image"][0], (48, 48), interpolation=cv2.INTER_AREA).astype(int)
        apart = np.abs(small - after["video"][0]).mean()
        # Edges of a rectangle, or of large pixels, fall between pixels of the smaller picture.
        assert apart < {t.Erase: 8, t.Downscale: 5}.get(kind, 3), seed


def test_flip_mirrors_all_pictures_together():
    before = example()
    after = t.HorizontalFlip(p=1.0)(before, RNG(0))
    for stream in ("image", "video", "mouth"):
        np.testing.assert_array_equal(after[stream][..., ::-1, :], before[stream])


def test_crop_takes_a_square_of_that_side():
    ramp = np.broadcast_to(np.arange(100, dtype=np.uint8)[None, :, None], (100, 100, 3))[None]
    for seed in range(10):
        after = t.ResizedCrop(1, side=(0.5, 0.5))(example() | {"image": ramp}, RNG(seed))["image"][0, 50, :, 0].astype(
            int
        )
        assert abs(after[95] - after[5] - 45) <= 1 and 0 <= after[0] and after[-1] <= 99


def test_shift_scale_and_turn_have_the_right_amount_and_sense():
    dot = np.zeros((1, 101, 101, 3), np.uint8)
    dot[0, 45:56, 65:76] = 255  # its middle 20 right of the picture's

    def middle(**options):
        frame = t.ShiftScaleRotate(1, **options)(example() | {"image": dot}, RNG(0))["image"][0, ..., 0].astype(float)
        return [np.average(np.arange(101), weights=frame.sum(axis)) - 50 for axis in (0, 1)]  # x, y

    none = {"shift": 0, "scale": (1, 1), "degrees": 0}
    np.testing.assert_allclose(middle(**none | {"scale": (1.5, 1.5)}), [30, 0], atol=0.3)
    rng = RNG(0)
    rng.random()
    move = rng.uniform(-1, 1, 2)
    np.testing.assert_allclose(middle(**none | {"shift": 0.1}), [20 + 10.1 * move[0], 10.1 * move[1]], atol=0.3)
    x, y = middle(**none | {"degrees": 90})
    assert abs(np.hypot(x, y) - 20) < 0.3


def test_colour_jitter_matches_its_definition():
    rng = RNG(4)
    rng.random()
    b, c, s = 1 + rng.uniform(-1, 1, 3) * [0.2, 0.3, 0.4]
    after = t.ColourJitter(1, brightness=0.2, contrast=0.3, saturation=0.4, hue=0)(example(), RNG(4))
    x = picture(96).astype(float)
    grey = x @ [0.299, 0.587, 0.114]
    want = (s * x + (1 - s) * grey[..., None]) * b * c + 128 * (1 - c)
    np.testing.assert_allclose(after["image"][0], np.clip(want, 0, 255), atol=0.8)  # 10 bits of fraction
    mouth = example()["mouth"][0].astype(float) * b * c + 128 * (1 - c)
    np.testing.assert_allclose(after["mouth"][0], np.clip(mouth, 0, 255), atol=0.51)


def test_hue_keeps_luma():
    after = t.ColourJitter(1, brightness=0, contrast=0, saturation=0, hue=0.05)(example(), RNG(1))
    inside = ((after["image"] > 0) & (after["image"] < 255)).all(-1)  # not clipped
    luma = [(x.astype(float) @ [0.299, 0.587, 0.114])[inside] for x in (after["image"], example()["image"])]
    np.testing.assert_allclose(*luma, atol=0.8)
    assert np.abs(after["image"].astype(int) - example()["image"]).max() > 5


def test_noise_has_its_deviation_and_differs_from_frame_to_frame():
    grey = np.full((6, 64, 64, 3), 128, np.uint8)
    noisy = t.Noise(1, sigma=(8, 8))(example() | {"image": grey}, RNG(0))["image"].astype(float)
    assert abs(noisy.std() - 8) < 0.1 and abs(noisy.mean() - 128) < 0.1
    assert abs(np.corrcoef(noisy[0].ravel(), noisy[1].ravel())[0, 1]) < 0.05


def test_blur_downscale_and_jpeg_take_detail_away():
    rough = np.broadcast_to(RNG(0).integers(0, 256, (1, 64, 64, 3), np.uint8), (2, 64, 64, 3))
    for transform in (
        *(t.Blur(1, sigma=(2, 2)), t.Downscale(1, factor=(3, 3)), t.Jpeg(1, quality=(20, 20))),
        t.Recompress(1, crf=(40, 40)),
    ):
        after = transform(example() | {"image": rough}, RNG(0))["image"]
        assert (
            np.abs(np.diff(after.astype(float), axis=2)).mean()
            < 0.8 * np.abs(np.diff(rough.astype(float), axis=2)).mean()
        )


def test_jpeg_keeps_colours_in_their_channels():
    red = np.zeros((1, 32, 32, 3), np.uint8)
    red[..., 0] = 200
    after = t.Jpeg(1, quality=(95, 95))(example() | {"image": red}, RNG(0))["image"]
    np.testing.assert_allclose(after, red, atol=4)


def test_erase_paints_a_rectangle_of_that_area():
    white = np.full((2, 100, 100, 3), 255, np.uint8)
    for seed in range(10):
        after = t.Erase(1, area=(0.1, 0.1))(example() | {"image": white}, RNG(seed))["image"]
        assert 0.08 < (after != 255).all(-1).mean() < 0.12


# Sound


def tone(hertz, level=8000):
    wave = level * np.sin(2 * np.pi * hertz * np.arange(16_000) / 16_000)
    return example() | {"audio": np.rint(wave).astype(np.int16)}


def decibels(after, before):
    rms = [np.sqrt(np.mean(x["audio"].astype(float) ** 2)) for x in (after, before)]
    return 20 * np.log10(rms[0] / rms[1])


def test_gain_is_in_decibels_and_saturates():
    assert abs(decibels(t.Gain(1, db=(-6, -6))(tone(440), RNG(0)), tone(440)) + 6) < 0.01
    loud = t.Gain(1, db=(40, 40))(tone(440), RNG(0))["audio"]
    assert loud.max() == 32767 and loud.min() == -32768


@pytest.mark.parametrize(("slope", "per_octave"), [(0, 0), (1, -3.01), (2, -6.02)])
def test_audio_noise_has_its_level_and_colour(slope, per_octave):
    before = tone(440)
    after = t.AudioNoise(1, snr=(20, 20), slope=(slope, slope))(before, RNG(0))
    noise = after["audio"].astype(float) - before["audio"]
    assert abs(20 * np.log10(np.std(noise) / np.std(before["audio"])) + 20) < 0.2
    frequency, power = scipy.signal.welch(noise, 16_000, nperseg=1024)
    part = (frequency > 100) & (frequency < 6000)
    rise = np.polyfit(np.log2(frequency[part]), 10 * np.log10(power[part] + 0.02), 1)[0]
    assert abs(rise - per_octave) < 1


def test_audio_noise_leaves_digital_silence():
    silent = example() | {"audio": np.zeros(16_000, np.int16)}
    for kind in SOUNDS:
        np.testing.assert_array_equal(kind(p=1.0)(silent, RNG(0))["audio"], 0)


@pytest.mark.parametrize(("hertz", "loss"), [(1000, 0), (3000, 3.01), (200, 3.01), (6000, 36.1), (100, 36.1)])
def test_band_limit_has_butterworth_slopes(hertz, loss):
    after = t.BandLimit(1, low=(200, 200), high=(3000, 3000))(tone(hertz), RNG(0))
    inner = [{"audio": x["audio"][4000:12_000]} for x in (after, tone(hertz))]
    assert abs(decibels(*inner) + loss) < 0.3


@pytest.mark.parametrize("transform", [t.BandLimit(1), t.Reverb(1, direct=(0, 0)), t.AudioNoise(1)], ids=repr)
def test_sound_stays_in_its_place(transform):
    """A click is loudest where it was: pictures and sound stay in step."""
    click = np.zeros(16_000, np.int16)
    click[8000] = 30_000
    for seed in range(10):
        after = transform(example() | {"audio": click}, RNG(seed))["audio"]
        assert abs(int(np.argmax(np.abs(after.astype(int)))) - 8000) <= 1


def test_reverb_decays_as_told_and_keeps_the_level():
    click = np.zeros(16_000, np.int16)
    click[0] = 30_000
    before = example() | {"audio": click}
    after = t.Reverb(1, rt60=(0.3, 0.3), direct=(3, 3))(before, RNG(0))
    assert abs(decibels(after, before)) < 0.1
    room = after["audio"].astype(float)
    assert abs(10 * np.log10(room[0] ** 2 / np.sum(room[1:] ** 2)) - 3) < 0.1
    energy = 10 * np.log10(np.add.reduceat(room[1:3201] ** 2, np.arange(0, 3200, 320)))
    assert abs(np.polyfit(np.arange(10) * 0.02, energy, 1)[0] * 0.3 + 60) < 6


def peak(samples):
    """The frequency of the strongest component in Hz."""
    return float(np.argmax(np.abs(np.fft.rfft(samples * np.hanning(len(samples))))) * 16_000 / len(samples))


@pytest.mark.parametrize("semitones", [-12, 2, 12])
def test_pitch_moves_the_tone_and_not_the_time(semitones):
    before = tone(440)
    before["audio"][8000:] = 0
    after = t.Pitch(1, semitones=(semitones, semitones))(before, RNG(0))["audio"]
    assert abs(peak(after[1000:7000].astype(float)) - 440 * 2 ** (semitones / 12)) < 6
    assert abs(after[9000:].astype(float)).max() < 200 < abs(after[6000:7500].astype(float)).max()


def test_slower_moves_pictures_and_sound_together():
    """A picture that turns white and a tone that begins at 0.4 s: at 0.5 s, played at 0.8."""
    frames = np.zeros((25, 8, 8, 3), np.uint8)
    frames[10:] = 255
    sound = tone(1000)["audio"] * (np.arange(16_000) >= 6400)
    valid = np.arange(25) >= 10
    before = example() | {"video": frames, "video_valid": valid, "audio": sound.astype(np.int16), "audio_valid": valid}
    after = t.Speed(1, rate=(0.8, 0.8))(before, RNG(0))
    assert np.argmax(after["video"][:, 0, 0, 0] > 0) == 12  # the first frame shown from 0.48 s on
    assert np.argmax(after["video_valid"]) == np.argmax(after["audio_valid"]) == 12
    assert abs(np.argmax(np.abs(after["audio"]) > 1000) / 16_000 - 0.5) < 0.002
    assert abs(peak(after["audio"][9000:].astype(float)) - 800) < 5
    assert {k: (v.shape, v.dtype) for k, v in after.items()} == {k: (v.shape, v.dtype) for k, v in before.items()}
    absent = example(video=False, audio=False)
    np.testing.assert_array_equal(t.Speed(1)(absent, RNG(0))["audio"], absent["audio"])


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (t.Blur, {"sigma": (2, 1)}, r"Blur.sigma: expected \(low, high\), found \(2, 1\)"),
        (t.Gain, {"db": (1,)}, r"Gain.db: expected \(low, high\), found \(1,\)"),
        (t.Erase, {"p": -0.1}, "Erase.p: expected 0 to 1, found -0.1"),
        (t.AudioCodec, {"codecs": ("amr",)}, "AudioCodec.codecs: expected some of aac, mp3, opus, mulaw, found amr"),
        (t.AudioCodec, {"codecs": ()}, "found none"),
        (t.LowerRate, {"every": 0}, "LowerRate.every: expected 1 or more, found 0"),
        (t.Speed, {"rate": (0.9, 1.2)}, r"Speed.rate: expected a range within 0.5 to 1, found \(0.9, 1.2\)"),
    ],
)
def test_wrong_fields_are_told(kind, fields, message):
    with pytest.raises(ValueError, match=message):
        kind(**fields)


def test_every_transform_is_tested():
    public = {k for n, k in vars(t).items() if isinstance(k, type) and issubclass(k, t.Transform) and n[0] != "_"}
    assert public - {t.Transform} == {*PICTURES, *SOUNDS, *ORDERS, t.Late, t.Speed}
    assert all(dataclasses.is_dataclass(k) and k.__doc__ for k in public)


@pytest.mark.parametrize(("seconds", "steps"), [(0.12, 3), (-0.2, -5), (0.0, 0)])
def test_late_moves_the_sound_alone_and_says_what_is_missing(seconds, steps):
    before = example()
    after = t.Late(1.0, seconds=(seconds, seconds))(before, RNG(0))
    moved, valid = np.roll(before["audio"], 640 * steps), np.ones(25, bool)
    lost = slice(0, steps) if steps >= 0 else slice(25 + steps, 25)
    valid[lost] = False
    moved.reshape(25, 640)[lost] = 0
    assert_same(after, before | {"audio": moved, "audio_valid": valid})


def numbered():
    """A film whose picture i is of grey level 10 i, the last five not valid."""
    film = np.broadcast_to(np.arange(0, 200, 10, dtype=np.uint8)[:, None, None, None], (20, 4, 4, 3))
    return (
        example()
        | {"video": film, "mouth": film[..., :1], "video_valid": np.arange(20) < 15}
        | {"mouth_valid": np.arange(20) < 15}
    )


@pytest.mark.parametrize("kind", ORDERS)
def test_pictures_change_places_alike_in_all_films_and_nothing_else_does(kind):
    before = numbered()
    after = kind(p=1.0)(before, RNG(1))
    assert {name for name in before if not np.array_equal(before[name], after[name])} == {"video", "mouth"}
    np.testing.assert_array_equal(after["video"][..., :1], after["mouth"])
    assert kind.changes_time and set(np.unique(after["video"])) <= set(np.unique(before["video"]))
    absent = example(video=False, mouth=False)
    assert_same(kind(p=1.0)(absent, RNG(0)), absent)


def test_each_order_is_what_it_is_called():
    def order(transform):
        return transform(numbered(), RNG(1))["video"][:, 0, 0, 0] // 10

    shuffled = order(t.ShuffleFrames(1.0))
    np.testing.assert_array_equal(np.sort(shuffled), np.arange(20))
    np.testing.assert_array_equal(shuffled[15:], np.arange(15, 20))
    assert (shuffled[:15] != np.arange(15)).any()
    assert len(np.unique(order(t.StillFrames(1.0)))) == 1 and order(t.StillFrames(1.0))[0] < 15
    np.testing.assert_array_equal(order(t.LowerRate(1.0, every=2)), np.arange(20) // 2 * 2)
    dropped = order(t.DropFrames(1.0, share=(0.5, 0.5)))
    assert dropped[0] == 0 and (np.diff(dropped.astype(int)) >= 0).all() and 3 < len(np.unique(dropped)) < 18


def test_exposure_is_one_gain_for_each_picture():
    grey = np.full((200, 4, 4, 3), 100, np.uint8)
    after = t.Exposure(1, sigma=(0.05, 0.05))(example() | {"image": grey}, RNG(0))["image"].astype(float)
    assert (after.std((1, 2, 3)) == 0).all() and abs(after[:, 0, 0, 0].std() - 5) < 0.8
