"""Articulation: a random sequence of speech sounds as one set of tracks that drives both the mouth and the voice."""

import dataclasses

import numpy as np
from scipy import ndimage

RATE = 200  # control rate of all tracks, Hz


@dataclasses.dataclass(frozen=True)
class Sound:
    """Targets of one stationary stretch of speech. jaw, closure, voicing, frication in [0, 1]; rounding in [-1, 1]
    (-1 spread, 1 rounded); noise is the frication's centre and formants F1–F3, in Hz for an average voice;
    seconds is the typical duration."""

    jaw: float
    rounding: float
    closure: float
    voicing: float
    frication: float
    noise: float
    formants: tuple[float, float, float]
    seconds: float


# Vowel formants follow Peterson & Barney (1952), averaged and rounded; consonant loci are the usual textbook values.
VOWELS = {
    "a": Sound(1.0, 0.0, 0.0, 1.0, 0.0, 2000, (760, 1250, 2550), 0.13),
    "ae": Sound(0.85, -0.4, 0.0, 1.0, 0.0, 2000, (680, 1750, 2500), 0.12),
    "e": Sound(0.55, -0.5, 0.0, 1.0, 0.0, 2000, (520, 1850, 2550), 0.10),
    "i": Sound(0.25, -0.9, 0.0, 0.9, 0.0, 2000, (300, 2250, 2950), 0.11),
    "o": Sound(0.60, 0.8, 0.0, 1.0, 0.0, 2000, (500, 880, 2450), 0.12),
    "u": Sound(0.30, 1.0, 0.0, 0.9, 0.0, 2000, (320, 830, 2300), 0.11),
    "schwa": Sound(0.45, 0.0, 0.0, 0.9, 0.0, 2000, (500, 1480, 2500), 0.07),
}
_BILABIAL, _ALVEOLAR, _VELAR = (250, 900, 2300), (300, 1750, 2650), (280, 1950, 2350)
# A consonant is one stretch, or for stops the closure and then the release.
CONSONANTS = {
    "m": (Sound(0.10, 0.0, 1.0, 0.45, 0.0, 2000, (260, 1100, 2300), 0.085),),
    "b": (
        Sound(0.10, 0.0, 1.0, 0.20, 0.0, 800, _BILABIAL, 0.075),
        Sound(0.30, 0.0, 0.2, 0.50, 0.35, 900, _BILABIAL, 0.015),
    ),
    "p": (
        Sound(0.10, 0.0, 1.0, 0.0, 0.0, 800, _BILABIAL, 0.085),
        Sound(0.35, 0.0, 0.2, 0.0, 0.6, 1000, _BILABIAL, 0.035),
    ),
    "f": (Sound(0.12, -0.1, 0.80, 0.0, 0.32, 6000, (300, 1300, 2400), 0.10),),
    "v": (Sound(0.12, -0.1, 0.80, 0.45, 0.15, 5500, (300, 1250, 2400), 0.07),),
    "w": (Sound(0.15, 1.0, 0.35, 0.7, 0.0, 2000, (300, 650, 2200), 0.07),),
    "t": (
        Sound(0.20, -0.1, 0.0, 0.0, 0.0, 4500, _ALVEOLAR, 0.06),
        Sound(0.30, -0.1, 0.0, 0.0, 0.75, 4500, _ALVEOLAR, 0.035),
    ),
    "d": (
        Sound(0.20, -0.1, 0.0, 0.15, 0.0, 4000, _ALVEOLAR, 0.05),
        Sound(0.30, -0.1, 0.0, 0.5, 0.4, 4000, _ALVEOLAR, 0.015),
    ),
    "k": (
        Sound(0.30, 0.0, 0.0, 0.0, 0.0, 2200, _VELAR, 0.06),
        Sound(0.40, 0.0, 0.0, 0.0, 0.7, 2200, _VELAR, 0.04),
    ),
    "g": (
        Sound(0.30, 0.0, 0.0, 0.15, 0.0, 2000, _VELAR, 0.05),
        Sound(0.40, 0.0, 0.0, 0.5, 0.35, 2000, _VELAR, 0.02),
    ),
    "s": (Sound(0.12, -0.4, 0.0, 0.0, 0.75, 6200, _ALVEOLAR, 0.11),),
    "z": (Sound(0.14, -0.3, 0.0, 0.45, 0.4, 5800, _ALVEOLAR, 0.08),),
    "sh": (Sound(0.15, 0.7, 0.0, 0.0, 0.75, 3300, (300, 1800, 2400), 0.11),),
    "n": (Sound(0.20, -0.1, 0.0, 0.5, 0.0, 2000, (280, 1600, 2600), 0.07),),
    "l": (Sound(0.35, -0.1, 0.0, 0.7, 0.0, 2000, (360, 1150, 2700), 0.065),),
    "r": (Sound(0.30, 0.4, 0.0, 0.7, 0.0, 2000, (350, 1150, 1650), 0.065),),
    "h": (Sound(0.50, 0.0, 0.0, 0.0, 0.35, 1600, (550, 1500, 2500), 0.06),),
}
_REST = Sound(0.06, 0.0, 0.35, 0.0, 0.0, 2000, (500, 1500, 2500), 0.0)
_VOWEL_NAMES, _CONSONANT_NAMES = tuple(VOWELS), tuple(CONSONANTS)

# Time constants (standard deviation, s) of coarticulation: heavy jaw, quicker lips and tongue, near-instant glottis.
_SMOOTHING = {"jaw": 0.028, "rounding": 0.030, "closure": 0.014, "voicing": 0.009, "frication": 0.006, "noise": 0.010}
_FORMANT_SMOOTHING = 0.018


@dataclasses.dataclass(frozen=True)
class Articulation:
    """Tracks over n = duration * RATE steps; all `[n]` float32, formants `[n 3]`. Units as in Sound, f0 in Hz relative
    to the speaker's mean (1 = mean)."""

    jaw: np.ndarray
    rounding: np.ndarray
    closure: np.ndarray
    voicing: np.ndarray
    frication: np.ndarray
    noise: np.ndarray
    formants: np.ndarray
    f0: np.ndarray

    @property
    def opening(self) -> np.ndarray:
        """Distance of the lips `[n]` in [0, 1]: what the eye sees and what lets the sound out."""
        return self.jaw * (1 - self.closure)

    def at(self, times: np.ndarray) -> dict[str, np.ndarray]:
        """jaw, rounding, closure and opening at `times` (s), by linear interpolation."""
        grid = np.arange(len(self.jaw)) / RATE
        names = ("jaw", "rounding", "closure", "opening")
        return {name: np.interp(times, grid, getattr(self, name)) for name in names}


def utterance(duration: float, rng: np.random.Generator, *, rate: float = 1.0, liveliness: float = 1.0) -> Articulation:
    """Babble of `duration` seconds: words of consonant-vowel syllables with pauses, after a short silence.

    rate scales the speed of speech (1: about 5 syllables/s), liveliness the excursions of f0.
    """
    n = round(duration * RATE)
    sounds, ends = [_REST], [rng.uniform(0.06, 0.30)]
    pitch, accents = [1.0], [ends[0]]  # f0 targets and their times
    stop = duration - rng.uniform(0.10, 0.28)
    while ends[-1] < stop:
        for _ in range(rng.integers(1, 4)):
            onset = CONSONANTS[_CONSONANT_NAMES[rng.integers(len(_CONSONANT_NAMES))]] if rng.random() < 0.9 else ()
            stress = rng.random() < 0.4
            nucleus = VOWELS[_VOWEL_NAMES[rng.integers(len(_VOWEL_NAMES))]]
            if stress:
                nucleus = dataclasses.replace(nucleus, jaw=min(1.0, nucleus.jaw * 1.2), seconds=nucleus.seconds * 1.35)
            coda = CONSONANTS[_CONSONANT_NAMES[rng.integers(len(_CONSONANT_NAMES))]] if rng.random() < 0.25 else ()
            for sound in (*onset, nucleus, *coda):
                sounds.append(sound)
                ends.append(ends[-1] + sound.seconds * rng.uniform(0.85, 1.25) / rate)
            accents.append(ends[-1] - 0.06)
            pitch.append(1 + liveliness * (rng.normal(0.14, 0.05) if stress else rng.normal(-0.03, 0.05)))
        if rng.random() < 0.3:
            sounds.append(_REST)
            ends.append(ends[-1] + rng.uniform(0.10, 0.26))
    sounds.append(_REST)
    ends = np.append(np.minimum(ends, stop + 0.05), duration + 1)

    index = np.minimum(np.searchsorted(ends, np.arange(n) / RATE, side="right"), len(sounds) - 1)
    tracks = {}
    for name, seconds in _SMOOTHING.items():
        target = np.array([getattr(sound, name) for sound in sounds], np.float32)[index]
        tracks[name] = ndimage.gaussian_filter1d(target, seconds * RATE, mode="nearest")
    formants = np.array([sound.formants for sound in sounds], np.float32)[index]
    formants = ndimage.gaussian_filter1d(formants, _FORMANT_SMOOTHING * RATE, axis=0, mode="nearest")
    times = np.arange(n) / RATE
    f0 = np.interp(times, accents, pitch) * (1.06 - 0.12 * times / duration)
    f0 = ndimage.gaussian_filter1d(f0, 0.04 * RATE, mode="nearest").astype(np.float32)
    return Articulation(formants=formants, f0=f0, **tracks)
