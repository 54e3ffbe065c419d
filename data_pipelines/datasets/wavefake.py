"""WaveFake: LJSpeech and JSUT sentences sent through vocoders; the reals come from those two corpora."""

import dataclasses
import re

from absl import logging

from data_pipelines.clip import Clip
from data_pipelines.datasets import _layout

METHODS = (
    *("ljspeech_melgan", "ljspeech_melgan_large", "ljspeech_multi_band_melgan", "ljspeech_full_band_melgan"),
    *("ljspeech_parallel_wavegan", "ljspeech_waveglow", "ljspeech_hifiGAN"),
    *("jsut_parallel_wavegan", "jsut_multi_band_melgan"),
    "common_voices_prompts_from_conformer_fastspeech2_pwg_ljspeech",
)
_REALS = {"ljspeech": ("LJSpeech-1.1", "wavs"), "jsut": ("jsut_ver1.1", "basic5000/wav")}


def read(root: str, *, ljspeech: str = "", jsut: str = "") -> list[Clip]:
    """Fakes, and the reals that they were made from.

    Args:
      root: the folder generated_audio with one folder per method, or one above it.
      ljspeech, jsut: folders LJSpeech-1.1 and jsut_ver1.1 (or above); by default looked for beside generated_audio.

    No official split. A sentence's real and fakes are tied by `original`, so that generated splits keep them
    together; there is no identity, as one voice speaks nearly all.
    """
    tree = _layout.find("wavefake", root, "generated_audio", "ljspeech_*", "jsut_*")
    if (tree.root / "generated_audio").is_dir():
        tree = dataclasses.replace(tree, root=tree.root / "generated_audio")
    clips, known = [], {}
    for corpus, given in (("ljspeech", ljspeech), ("jsut", jsut)):
        name, below = _REALS[corpus]
        beside = tree.root.parent / name
        if not given and not beside.is_dir():
            logging.warning("wavefake: no reals of %s: give the option %s=DIR, its folder %s", corpus, corpus, name)
            continue
        reals = _layout.find(name, given or str(beside), below)
        reals = dataclasses.replace(reals, dataset="wavefake", prefix=f"{name}/")
        for relative in reals.files(below, suffixes=_layout.AUDIO):
            clip = reals.clip(relative, 0, audio_label=0)
            known[_layout.stem(relative)] = clip.clip_id
            clips.append(clip)
    strange = sorted(path.name for path in tree.root.iterdir() if path.is_dir() and path.name not in METHODS)
    others = tree.files(*strange, suffixes=_layout.AUDIO) if strange else ()
    _layout.tell_unused("wavefake", "lie in folders of other names", others)
    for method in METHODS:
        for relative in tree.files(method, suffixes=_layout.AUDIO):
            name = re.sub(r"_gen(erated)?$", "", _layout.stem(relative))
            corpus = _REALS.get(method.partition("_")[0])
            sentence = "" if corpus is None else known.get(name, f"wavefake/{corpus[0]}/{corpus[1]}/{name}.wav")
            clips.append(tree.clip(relative, 1, audio_label=1, method=method, original=sentence))
    if missing := sorted(set(METHODS) - {clip.method for clip in clips}):
        logging.warning("wavefake: %d of %d methods are not there: %s", len(missing), len(METHODS), ", ".join(missing))
    return _layout.finish(tree, clips, {})
