"""Identity: who is shown. Shape of the face, skin, hair, eyes, and the voice, all drawn from one generator."""

import dataclasses

import numpy as np

Colour = tuple[float, float, float]  # RGB, 0–255


@dataclasses.dataclass(frozen=True)
class Voice:
    """A speaker's constants for the source-filter synthesis."""

    f0: float  # mean, Hz
    formant_scale: float  # 1: average vocal tract; larger is shorter
    open_quotient: float  # part of the period in which the glottis is open
    tilt: float  # pole of the spectral-tilt low pass, in [0, 1)
    breathiness: float
    jitter: float
    shimmer: float
    rate: float  # speed of speech, 1: average
    liveliness: float  # f0 excursions, 1: average


@dataclasses.dataclass(frozen=True)
class Identity:
    """A person. Lengths are in head units (half the width of an average face); angles in radians."""

    name: str
    seed: int  # of the skin's and the hair's texture
    width: float
    jaw_width: float
    chin: float  # y of the chin's tip; the eyes lie at y = 0
    forehead: float  # y of the skull's top
    eye_distance: float  # from the middle to an eye's centre
    eye_width: float
    eye_height: float
    eye_slant: float
    brow_height: float
    brow_thickness: float
    brow_arch: float
    nose_length: float
    nose_width: float
    mouth_y: float
    mouth_width: float
    lip_upper: float
    lip_lower: float
    skin: Colour
    lips: Colour
    hair: Colour
    iris: Colour
    hair_style: str  # one of HAIR_STYLES
    beard: float  # 0 none – 1 full
    freckles: float
    wrinkles: float
    glasses: bool
    voice: Voice


HAIR_STYLES = ("short", "long", "fringe", "parted", "bald")
_SKINS = ((244, 211, 190), (233, 190, 160), (216, 166, 130), (190, 136, 100), (150, 102, 74), (112, 74, 54))
_HAIRS = ((28, 22, 20), (52, 36, 26), (92, 60, 36), (140, 98, 56), (188, 152, 96), (132, 128, 126), (120, 56, 30))
_IRISES = ((70, 44, 26), (92, 62, 34), (92, 108, 66), (82, 118, 150), (120, 140, 150))


def draw(rng: np.random.Generator, name: str) -> Identity:
    """A random person called `name`; a function of the generator's state alone."""
    low_voice = rng.random() < 0.5
    tone = rng.uniform(0, len(_SKINS) - 1)
    skin = np.array([np.interp(tone, range(len(_SKINS)), c) for c in zip(*_SKINS, strict=True)])
    skin = np.clip(skin * rng.normal(1, 0.03, 3), 20, 250)
    lips = skin * np.array([0.88, 0.62, 0.62]) * rng.normal(1, 0.05, 3) + np.array([6, 0, 4])
    dark_hair = tone > 3 and rng.random() < 0.85
    hair = np.array(_HAIRS[rng.integers(2) if dark_hair else rng.integers(len(_HAIRS))]) * rng.uniform(0.8, 1.2)
    iris = _IRISES[rng.integers(2) if tone > 3 else rng.integers(len(_IRISES))]
    styles = ("short", "parted", "bald", "short", "fringe") if low_voice else ("long", "long", "fringe", "parted")
    return Identity(
        name=name,
        seed=int(rng.integers(2**31)),
        width=rng.uniform(0.90, 1.03),
        jaw_width=rng.uniform(0.66, 0.80) if low_voice else rng.uniform(0.60, 0.72),
        chin=rng.uniform(1.38, 1.55),
        forehead=rng.uniform(-1.22, -1.08),
        eye_distance=rng.uniform(0.38, 0.45),
        eye_width=rng.uniform(0.185, 0.23),
        eye_height=rng.uniform(0.075, 0.12),
        eye_slant=rng.uniform(-0.06, 0.10),
        brow_height=rng.uniform(0.24, 0.32),
        brow_thickness=rng.uniform(0.035, 0.085),
        brow_arch=rng.uniform(0.02, 0.10),
        nose_length=rng.uniform(0.50, 0.64),
        nose_width=rng.uniform(0.15, 0.24),
        mouth_y=rng.uniform(0.88, 0.98),
        mouth_width=rng.uniform(0.33, 0.43),
        lip_upper=rng.uniform(0.085, 0.135),
        lip_lower=rng.uniform(0.10, 0.165),
        skin=tuple(skin),
        lips=tuple(np.clip(lips, 15, 250)),
        hair=tuple(np.clip(hair, 8, 235)),
        iris=tuple(float(c) for c in iris),
        hair_style=styles[rng.integers(len(styles))],
        beard=float(rng.uniform(0.3, 1.0)) if low_voice and rng.random() < 0.4 else 0.0,
        freckles=float(rng.uniform(0.3, 1.0)) if tone < 2 and rng.random() < 0.4 else 0.0,
        wrinkles=float(rng.uniform(0, 1)),
        glasses=bool(rng.random() < 0.18),
        voice=Voice(
            f0=rng.uniform(90, 135) if low_voice else rng.uniform(165, 235),
            formant_scale=rng.uniform(0.90, 1.0) if low_voice else rng.uniform(1.04, 1.18),
            open_quotient=rng.uniform(0.5, 0.72),
            tilt=rng.uniform(0.15, 0.55),
            breathiness=rng.uniform(0.01, 0.06),
            jitter=rng.uniform(0.004, 0.012),
            shimmer=rng.uniform(0.02, 0.07),
            rate=rng.uniform(0.88, 1.15),
            liveliness=rng.uniform(0.6, 1.4),
        ),
    )
