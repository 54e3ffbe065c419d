"""Names of detectors and methods in running text, and what verdicts and counts say as sentences."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.analysis import compare, findings
from experiments.report.terminal import with_interval

Row = Mapping[str, Any]

# {detector: (in tables, in sentences)}
NAMES = {
    "image-clip": ("CLIP", "CLIP"),
    "image-dinov2": ("DINOv2", "DINOv2"),
    "image-convnext": ("ConvNeXt", "ConvNeXt"),
    "image-efficientnet": ("EfficientNet", "EfficientNet"),
    "audio-wav2vec2": ("wav2vec 2.0", "wav2vec 2.0"),
    "audio-hubert": ("HuBERT", "HuBERT"),
    "audio-spectrogram_cnn": ("spectrogram CNN", "the spectrogram network"),
    "video-resnet3d": ("3D ResNet", "the 3D ResNet"),
    "video-cnn_lstm": ("CNN + LSTM", "the frame encoder under an LSTM"),
    "video-temporal_difference": ("temporal difference", "the network on frame differences"),
    "early_fusion": ("early fusion", "early fusion"),
    "late_fusion": ("late fusion", "late fusion"),
    "cross_attn": ("cross-attention", "cross-modal attention"),
    "contrastive": ("contrastive", "contrastive alignment"),
    "lip_sync": ("lip synchrony", "lip synchrony"),
    "temporal_consistency": ("temporal consistency", "temporal consistency"),
    "hierarchical": ("hierarchical", "the hierarchical detector"),
    "system": ("system", "the system"),
}
METHODS = {
    "dubbing_other_voice": "dubbing with another voice",
    "lip_reenactment": "lip re-enactment",
    "face_swap_voice_clone": "face swap with a cloned voice",
    "voice_clone": "voice cloning",
}
DATASETS = {
    "av_deepfake1m": "AV-Deepfake1M",
    "celeb_df": "Celeb-DF",
    "dfdc": "DFDC",
    "faceforensics": "FaceForensics++",
    "fakeavceleb": "FakeAVCeleb",
    "folder": "a folder of clips",
    "lav_df": "LAV-DF",
}
_SMALL = "no one two three four five six seven eight nine ten eleven twelve".split()


def short(detector: str) -> str:
    """A detector in a table."""
    return NAMES[detector][0] if detector in NAMES else detector.replace("_", " ")


def phrase(detector: str) -> str:
    """A detector in a sentence."""
    return NAMES[detector][1] if detector in NAMES else detector.replace("_", " ")


def method(name: str) -> str:
    """A method of manipulation."""
    return METHODS.get(name, name.replace("_", " "))


def dataset(reader: str) -> str:
    """A dataset by the name of its reader."""
    return DATASETS.get(reader, reader.replace("_", " "))


def listed(words: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def count(number: int) -> str:
    """A number in a sentence: a word up to twelve."""
    return _SMALL[number] if number < len(_SMALL) else str(number)


def sentence(text: str) -> str:
    """With a capital, and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def interval(value: float, low: float = math.nan, high: float = math.nan) -> str:
    """`0.912 [0.861, 0.946]`; words where it is unknown."""
    return "a value that was not measured" if math.isnan(value) else with_interval(value, low, high)


def gain(row: Row) -> str:
    """`+0.031 [+0.004, +0.058]` of a claim."""
    return findings.gain(row).replace("-", "−")


def of(row: Row | None, name: str) -> str:
    """A column of a row with the interval beside it."""
    return interval(*((row or {}).get(f"{name}{end}", math.nan) for end in ("", " low", " high")))


def verdicts(claims: Sequence[Row]) -> str:
    """What the claims of a family came to: a sentence for each verdict and each side that was to be beaten."""
    groups: dict[tuple[str, str, int], list[Row]] = {}
    for kind in compare.VERDICTS:
        for row in claims:
            if row["Verdict"] == kind:
                groups.setdefault((kind, row["Than"], int(row["Than chosen from"])), []).append(row)
    return " ".join(sentence(_verdict(kind, than, rows)) for (kind, than, _), rows in groups.items())


def _verdict(kind: str, than: str, rows: Sequence[Row]) -> str:
    other = _side(rows[0], "Than")
    unit = {"auc": "AUC", "brier": "Brier score"}[rows[0]["Metric"]]
    if kind == compare.ABSENT:
        sides = listed(phrase(row["Better"]) for row in rows)
        return f"{sides} could not be compared with {phrase(than)}: {rows[0]['Why not']}"
    sides = [f"{_side(row, 'Better')} ({gain(row)})" for row in rows]
    several = len(rows) > 1
    words = {
        compare.SUPPORTED: "are better than" if several else "is better than",
        compare.CONTRADICTED: "are worse than" if several else "is worse than",
        compare.EQUAL: "are each equal in practice to" if several else "is equal in practice to",
        compare.OPEN: "are not shown to be better than" if several else "is not shown to be better than",
    }[kind]
    by = f"by {unit}, " if unit != "AUC" else ""
    against = ", against the claim" if kind == compare.CONTRADICTED else ""
    return f"{by}{listed(sides)} {words} {other}{against}"


def _side(row: Row, which: str) -> str:
    among = int(row[f"{which} chosen from"])
    return phrase(row[which]) + (f", the best of {among} on validation" if among > 1 else "")


def counts(claims: Sequence[Row], what: str) -> str:
    """`Of the twenty declared claims, twelve are supported, …`."""
    total = len(claims)
    if not total:
        return ""
    found = [(sum(row["Verdict"] == kind for row in claims), kind) for kind in compare.VERDICTS]
    words = {compare.EQUAL: "equal in practice", compare.ABSENT: "not tested"}
    parts = []
    for number, kind in found:
        if number:
            parts.append(f"{count(number)} {'is' if number == 1 else 'are'} {words.get(kind, kind)}")
    if total == 1:
        return sentence(f"the claim {what} {parts[0].partition(' ')[2]}")
    if len(parts) == 1:
        every = "both" if total == 2 else f"all {count(total)}"
        return sentence(f"{every} claims {what} are {words.get(claims[0]['Verdict'], claims[0]['Verdict'])}")
    return sentence(f"of the {count(total)} claims {what}, {listed(parts)}")
