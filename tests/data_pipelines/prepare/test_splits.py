"""Splits that are made up: disjoint, in proportion, and always the same."""

import collections
import dataclasses
import random

import pytest

from data_pipelines.clip import Clip
from data_pipelines.prepare import splits


def clips_of(people, each=4):
    return [
        Clip(f"c/{person}/{i}", f"/c/{person}/{i}", i % 2, identity=f"p{person}")
        for person in range(people)
        for i in range(each)
    ]


def test_shares_and_labels():
    assigned = splits.assign(clips_of(100))
    count = collections.Counter(clip.split for clip in assigned)
    assert abs(count["train"] - 280) <= 8
    assert abs(count["val"] - 60) <= 8
    for split in count:
        labels = [clip.label for clip in assigned if clip.split == split]
        assert sum(labels) * 2 == len(labels)


def test_neither_order_nor_place_matters():
    clips = [*clips_of(20), *(Clip(f"{i}", f"/{i}", i % 2) for i in range(20))]
    shuffled = random.Random(0).sample(clips, len(clips))
    moved = [dataclasses.replace(clip, path=f"/moved{clip.path}") for clip in clips]
    by_id = {clip.clip_id: clip.split for clip in splits.assign(clips)}
    assert by_id == {clip.clip_id: clip.split for clip in splits.assign(shuffled)}
    assert by_id == {clip.clip_id: clip.split for clip in splits.assign(moved)}


def test_identity_donor_and_original_stay_together():
    clips = [
        Clip("a", "/a", 0, identity="x"),
        Clip("b", "/b", 1, identity="y", donors=("x",)),
        Clip("c", "/c", 1, identity="z", original="b"),
        Clip("d", "/d", 1, identity="w", original="/c"),
        *clips_of(10),
    ]
    assigned = splits.assign(clips)
    assert len({clip.split for clip in assigned[:4]}) == 1


def test_three_people_are_enough_for_three_splits():
    assert {clip.split for clip in splits.assign(clips_of(3))} == {"train", "val", "test"}


def test_given_splits_are_kept_and_followed():
    clips = [Clip("a", "/a", 0, identity="x", split="test"), Clip("b", "/b", 1, identity="x"), *clips_of(5)]
    assigned = splits.assign(clips)
    assert [clip.split for clip in assigned[:2]] == ["test", "test"]
    official = [Clip(str(i), f"/{i}", i % 2, split="val") for i in range(4)]
    assert splits.assign(official) == official


def test_a_dataset_without_a_validation_part_gets_a_tenth_of_its_training_people():
    clips = [
        dataclasses.replace(clip, split="test" if i >= 320 else "train", method=("real", "a", "real", "b")[i % 4])
        for i, clip in enumerate(clips_of(100))
    ]
    assigned = splits.assign(clips)
    assert {clip.clip_id for clip in assigned if clip.split == "test"} == {clip.clip_id for clip in clips[320:]}
    kinds = collections.Counter(clip.method for clip in assigned if clip.split == "val")
    assert kinds == {"real": 16, "a": 8, "b": 8}
    train, val = ({clip.identity for clip in assigned if clip.split == split} for split in ("train", "val"))
    assert train.isdisjoint(val)
    assert {clip.clip_id: clip.split for clip in splits.assign(clips[::-1])} == {
        clip.clip_id: clip.split for clip in assigned
    }


def test_one_person_is_not_held_out():
    clips = [dataclasses.replace(clip, split="train") for clip in clips_of(1)]
    assert splits.assign(clips) == clips


def test_methods_are_in_proportion():
    clips = [
        Clip(f"{person}/{method}", f"/{person}/{method}", int(method != "real"), identity=f"p{person}", method=method)
        for person in range(300)
        for method in ("real", ("common", "common", "rare")[person % 3])
    ]
    kinds = collections.Counter((clip.split, clip.method) for clip in splits.assign(clips))
    for method, count in (("real", 300), ("common", 200), ("rare", 100)):
        assert all(abs(kinds[split, method] - share * count) <= 2 for split, share in splits.SHARES.items())


def test_clips_without_names_stand_alone():
    clips = [Clip(f"{i}", f"/{i}", i % 2) for i in range(40)]
    assert {clip.split for clip in splits.assign(clips)} == {"train", "val", "test"}


def test_where_swaps_tie_everybody_identities_are_divided_and_crossing_clips_left_out(caplog):
    rng = random.Random(0)
    people = [f"p{i}" for i in range(60)]
    clips = [Clip(f"r/{p}", f"/r/{p}", 0, identity=p) for p in people]
    for i in range(900):
        shown, put_in = rng.sample(people, 2)
        clips.append(Clip(f"f/{i}", f"/f/{i}", 1, identity=shown, donors=(put_in,), original=f"r/{shown}"))
    assigned = splits.assign(clips)
    sides = {split: [clip for clip in assigned if clip.split == split] for split in ("train", "val", "test")}
    used = {s: {p for clip in side for p in (clip.identity, *clip.donors)} for s, side in sides.items()}
    assert used["train"].isdisjoint(used["val"] | used["test"]) and used["val"].isdisjoint(used["test"])
    assert min(len(side) for side in sides.values()) >= 20 and len(sides["train"]) > 300
    assert {clip.clip_id for clip in assigned if clip.label == 0} == {clip.clip_id for clip in clips if clip.label == 0}
    assert "clips show people of two splits" in caplog.text


def test_where_swaps_tie_everybody_the_held_out_part_shares_no_person_or_donor_with_training(caplog):
    rng = random.Random(0)
    people = [f"p{i}" for i in range(60)]
    clips = [Clip(f"r/{p}/{k}", f"/r/{p}/{k}", 0, identity=p, split="train") for p in people for k in range(5)]
    for i in range(900):
        shown, put_in = rng.sample(people, 2)
        clips.append(Clip(f"f/{i}", f"/f/{i}", 1, identity=shown, donors=(put_in,), split="train"))
    test = [Clip(f"t/{i}", f"/t/{i}", 1, identity=people[i], donors=(people[-1],), split="test") for i in range(20)]
    assigned = splits.assign([*clips, *test])
    assert [clip for clip in assigned if clip.split == "test"] == test
    train, val = ([clip for clip in assigned if clip.split == split] for split in ("train", "val"))
    used, held_out = ({p for clip in part for p in (clip.identity, *clip.donors)} for part in (train, val))
    assert used.isdisjoint(held_out) and len(held_out) >= 6
    assert {clip.label for clip in val} == {0, 1} and len(train) > 900
    assert {clip.clip_id for clip in clips if clip.label == 0} <= {clip.clip_id for clip in assigned}
    assert "clips show people of two splits" in caplog.text


@pytest.mark.parametrize("each", [1, 3])
def test_fakes_of_rare_methods_are_dealt_out_as_one(each):
    reals = [Clip(f"r/{i}", f"/r/{i}", 0, method="real") for i in range(60)]
    fakes = [Clip(f"f/{i}", f"/f/{i}", 1, method=f"m{i // each}") for i in range(60)]
    count = collections.Counter((clip.split, clip.label) for clip in splits.assign([*reals, *fakes]))
    assert count == {(s, label): round(60 * share) for s, share in splits.SHARES.items() for label in (0, 1)}
    splits.check([*reals, *fakes])


@pytest.mark.parametrize(
    ("clips", "words"),
    [
        ([Clip(str(i), f"/{i}", i % 2) for i in range(4)], r"no clip for the test part .*4 clips in 4 .*folds=3"),
        (clips_of(1), r"no clip for the val part .*4 clips in 1 such groups\); give more people or clips$"),
        ([Clip(str(i), f"/{i}", i % 2, split=("train", "val")[i // 5]) for i in range(10)], r"own .*split=test"),
        ([Clip(str(i), f"/{i}", int(i < 2)) for i in range(20)], "no fake clip for the test part"),
    ],
)
def test_what_cannot_fill_three_parts_is_told(clips, words):
    with pytest.raises(ValueError, match=words) as error:
        splits.check(clips)
    assert "\n" not in str(error.value)


def test_fakes_that_are_made_need_not_be_there():
    reals = [Clip(str(i), f"/{i}", 0) for i in range(20)]
    splits.check([*reals, Clip("fake", "/fake", 1)], fakes_are_made=True)
    with pytest.raises(ValueError, match="no fake clip"):
        splits.check([*reals, Clip("fake", "/fake", 1)])
