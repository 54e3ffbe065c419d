"""Folds cover every clip once and share nobody."""

import pytest

from data_pipelines.clip import Clip
from data_pipelines.prepare.folds import divide

PEOPLE = [f"p{i}" for i in range(11)]


def clips():
    real = [Clip(f"{p}/{j}", f"{p}_{j}.mp4", 0, identity=p) for p in PEOPLE for j in range(3)]
    swaps = [
        Clip(f"{p}/swap", f"{p}_s.mp4", 1, identity=p, donors=(PEOPLE[(i + 1) % 11],)) for i, p in enumerate(PEOPLE)
    ]
    return [*real, *swaps]


def test_every_clip_is_tested_once():
    tested = [i for fold in range(1, 6) for i in divide(clips(), 5, fold)["test"]]
    assert sorted(tested) == list(range(len(clips())))


@pytest.mark.parametrize("fold", (1, 3, 5))
def test_no_side_sees_the_people_of_a_later_one(fold):
    sides = {name: [clips()[i] for i in rows] for name, rows in divide(clips(), 5, fold).items()}
    shown = {name: {clip.identity for clip in side} for name, side in sides.items()}
    assert all(shown[a].isdisjoint(shown[b]) for a in shown for b in shown if a < b)
    donors = {name: {donor for clip in side for donor in clip.donors} for name, side in sides.items()}
    assert donors["train"].isdisjoint(shown["val"] | shown["test"]) and donors["val"].isdisjoint(shown["test"])
    assert len(sides["train"]) > len(sides["test"])


def test_the_order_of_the_clips_does_not_matter():
    names = [clip.clip_id for clip in clips()]
    backwards = clips()[::-1]
    assert {names[i] for i in divide(clips(), 4, 2)["test"]} == {
        backwards[i].clip_id for i in divide(backwards, 4, 2)["test"]
    }


def test_a_clip_without_identity_goes_with_its_original():
    nameless = [Clip(f"r{i}", f"r{i}.mp4", 0) for i in range(9)]
    nameless += [Clip(f"f{i}", f"f{i}.mp4", 1, original=f"r{i}") for i in range(9)]
    for fold in (1, 2, 3):
        test = divide(nameless, 3, fold)["test"]
        assert {i % 9 for i in test if i < 9} == {i % 9 for i in test if i >= 9}


def test_also_where_the_original_alone_tells_who_is_shown():
    named = [Clip(f"r{i}", f"r{i}.mp4", 0, identity=f"p{i}") for i in range(9)]
    named += [Clip(f"f{i}", f"f{i}.mp4", 1, original=f"r{i}") for i in range(9)]
    for fold in (1, 2, 3):
        test = divide(named, 3, fold)["test"]
        assert {i % 9 for i in test if i < 9} == {i % 9 for i in test if i >= 9}


@pytest.mark.parametrize(("folds", "fold", "message"), [(2, 1, "3 or more"), (5, 6, "1 to"), (12, 1, "only 11 people")])
def test_mistakes_are_told(folds, fold, message):
    with pytest.raises(ValueError, match=message):
        divide(clips(), folds, fold)
