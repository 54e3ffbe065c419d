"""PolyGlotFake: names of languages and methods, lists of the reals."""

import json

from data_pipelines.datasets import polyglotfake


def test_names_and_lists(tree, fields):
    tree.add("real/en/en_12.mp4", "real/zh/zh_3.mp4", "fake/en_12_to_ja_xtts.mp4", "fake/zh_3_to_en_bark_freevc.mp4")
    tree.add("fake/ru_9_to_en_xtts.mp4", "fake/de_1.mp4", "real/zh_copy/zh_3.mp4")
    videos = [{"filename": name, "source": "url", "characters": []} for name in ("en_12.mp4", "en_13.mp4")]
    tree.add("real_json_files/en.json", text=json.dumps({"videos": videos}))
    clips = tree.read(polyglotfake)
    columns = ("label", "video_label", "audio_label", "method", "identity", "original", "split")
    assert {name: fields(clip, *columns) for name, clip in clips.items()} == {
        "real/en/en_12.mp4": (0, 0, 0, "real", "en_12", "", ""),
        "real/zh/zh_3.mp4": (0, 0, 0, "real", "zh_3", "", ""),
        "fake/en_12_to_ja_xtts.mp4": (1, 1, 1, "xtts", "en_12", "polyglotfake/real/en/en_12.mp4", ""),
        "fake/zh_3_to_en_bark_freevc.mp4": (1, 1, 1, "bark_freevc", "zh_3", "polyglotfake/real/zh/zh_3.mp4", ""),
        "fake/ru_9_to_en_xtts.mp4": (1, 1, 1, "xtts", "ru_9", "polyglotfake/ru_9", ""),
    }
    assert "1 of the 2 files in real_json_files are not on disk: en_13" in tree.told
    assert "real: found 2, expected 766, missing 764" in tree.told
    assert "one that was there already, and give no clips: fake/de_1.mp4, real/zh_copy/zh_3.mp4" in tree.told


def test_mistakes(tree):
    tree.add("videos/a.mp4")
    tree.fails(polyglotfake, r"looked for real_json_files or ar_\[0-9\]\*\.mp4 .*found videos/")
    tree.add("real_json_files/en.json", text="{}")
    tree.add("en_1.mp4")
    tree.fails(polyglotfake, r"en\.json: expected videos with a filename each \(KeyError: 'videos'\)")
