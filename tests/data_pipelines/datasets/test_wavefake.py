"""WaveFake: fakes named in three ways, reals from elsewhere, one sentence on one side."""

from data_pipelines.datasets import wavefake
from data_pipelines.prepare import splits

SENTENCES = [f"LJ008-{i:04d}" for i in range(20)]
WAVS = "LJSpeech-1.1/wavs"


def make(tree):
    for sentence in SENTENCES:
        tree.add(
            f"generated_audio/ljspeech_melgan/{sentence}_gen.wav",
            f"generated_audio/ljspeech_hifiGAN/{sentence}_generated.wav",
            f"generated_audio/ljspeech_waveglow/{sentence}.wav",
        )
    tree.add("generated_audio/jsut_parallel_wavegan/BASIC5000_0001_gen.wav")
    tree.add("generated_audio/common_voices_prompts_from_conformer_fastspeech2_pwg_ljspeech/gen_0.wav")
    tree.add("generated_audio/ljspeech_new/a.wav")


def test_fakes_are_tied_to_their_sentence(tree, fields):
    make(tree)
    tree.add(*(f"{WAVS}/{sentence}.wav" for sentence in SENTENCES), "jsut_ver1.1/basic5000/wav/BASIC5000_0001.wav")
    clips = tree.read(wavefake)
    real = clips[f"{WAVS}/LJ008-0003.wav"]
    assert fields(real, "label", "audio_label", "video_label", "method", "identity") == (0, 0, -1, "real", "")
    for name in ("melgan/LJ008-0003_gen", "hifiGAN/LJ008-0003_generated", "waveglow/LJ008-0003"):
        clip = clips[f"ljspeech_{name}.wav"]
        assert fields(clip, "label", "audio_label", "original") == (1, 1, real.clip_id)
        assert clip.method == f"ljspeech_{name.partition('/')[0]}"
    other = clips["jsut_parallel_wavegan/BASIC5000_0001_gen.wav"]
    assert other.original == "wavefake/jsut_ver1.1/basic5000/wav/BASIC5000_0001.wav"
    sides = {}
    for clip in splits.assign(list(clips.values())):
        sides.setdefault(clip.original or clip.clip_id, set()).add(clip.split)
    assert all(len(side) == 1 for side in sides.values())
    assert set.union(*sides.values()) == {"train", "val", "test"}
    assert "1 files on disk lie in folders of other names and give no clips: ljspeech_new/a.wav" in tree.told
    assert "5 of 10 methods are not there: jsut_multi_band_melgan, " in tree.told


def test_reals_may_lie_elsewhere_or_be_absent(tree, fields):
    make(tree)
    fakes = tree.read(wavefake, "generated_audio")
    assert all(clip.label for clip in fakes.values())
    assert "no reals of ljspeech: give the option ljspeech=DIR, its folder LJSpeech-1.1" in tree.told
    tree.add("far/LJSpeech-1.1/wavs/LJ008-0003.wav")
    clips = tree.read(wavefake, ljspeech=str(tree.root / "far"))
    (real,) = [clip for clip in clips.values() if not clip.label]
    assert real.clip_id == f"wavefake/{WAVS}/LJ008-0003.wav"
    assert fakes["ljspeech_waveglow/LJ008-0003.wav"].original == real.clip_id
    tree.fails(wavefake, "not the layout of jsut_ver1.1: looked for basic5000/wav", jsut=str(tree.root / "far"))


def test_unknown_layout(tree):
    tree.add("audio/a.wav")
    tree.fails(wavefake, "looked for generated_audio or .*found audio/")
