"""Who is judged by what, in pieces of a file that are made by hand: no file is decoded here."""

import dataclasses
import json

import cv2
import hand_made
import numpy as np
import pytest

from data_pipelines.clip import Clip
from data_pipelines.prepare import extract, media
from experiments.verdict import examine, judged, people, verdict
from experiments.verdict.examined import Examined, Face, Person, Shown

LEFT, MIDDLE, RIGHT = (0, 0, 20, 20), (8, 0, 28, 20), (40, 0, 60, 20)


def outcome(box=None, *, grey=100, loud=0.3, seconds=4.0, seen=1.0, speaker="only"):
    """A record of one face in a box, or of the sound alone. seen: share of the frames, from the first, that show it."""
    frames = 0 if box is None else round(25 * seconds)
    picture = cv2.imencode(".png", np.full((32, 32, 3), grey, np.uint8))[1].tobytes()
    found = (np.arange(frames) < seen * frames).astype(np.uint8)
    audio = np.int16(32767 * loud * np.sin(np.arange(round(16000 * seconds)) * 0.5))
    record = {
        "frames": [picture] * frames,
        "mouth": [],
        "boxes": np.tile(np.float32(box or LEFT), (frames, 1)).tobytes(),
        "times": np.arange(frames, dtype=np.float32).tobytes(),
        "found": found.tobytes(),
        "audio": audio.tobytes(),
        "info": json.dumps({"clip": dataclasses.asdict(Clip("a", "a", 0))}).encode(),
    }
    size = {"frames": frames, "found": int(found.sum()), "duration": seconds, "audio_samples": len(audio)}
    return extract.Outcome("ok", speaker=speaker, record=record, **size)


def looked_at(detector, *pieces, length=4.0):
    """What is found of a file of these pieces, each of some outcomes, one after another."""
    one = Examined("a.mp4", facts=media.Facts(seconds=length * len(pieces)))
    file = examine._File(one, Clip("a.mp4", "a.mp4", 0))
    (group,) = examine._groups(detector)
    for i, outcomes in enumerate(pieces):
        source = media.Media("ok", frames=outcomes[0].frames, width=64, height=48)
        seen = extract.Seen(tuple(outcomes), source, faces=len(outcomes))
        examine._take(file, examine._Part(0, i, length * i, length * (i + 1), 0), seen, group)
    examine._finish(file)
    return one


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return hand_made.make(tmp_path_factory.mktemp("model"))


def test_the_sound_is_judged_with_who_speaks(detector):
    """Person 1 speaks, then person 2; then nobody is seen."""
    other = outcome(RIGHT, grey=200, speaker="other")
    one = looked_at(
        detector,
        [outcome(LEFT, speaker="sound"), other],
        [dataclasses.replace(other, speaker="sound"), outcome(LEFT, speaker="other")],
        [outcome()],
    )
    assert one.names == ["person 1", "person 2", "the sound"]
    for person, heard in zip(one.people, ([0, 4], [4, 8], [8, 12]), strict=True):
        out = person.outputs("model")
        known = out["window_start"][~np.isnan(out["score_audio"])]
        assert heard[0] <= known.min() and known.max() < heard[1]
        assert len(known) == 9 and person.heard
    alone = one.people[0].outputs("model")
    assert np.allclose(alone["score"][alone["window_start"] >= 4], 100 / 255, atol=0.01)  # by the picture alone
    assert np.isnan(one.people[2].outputs("model")["score_image"]).all()


def test_the_sound_counts_while_the_face_is_not_seen(detector):
    (person,) = looked_at(detector, [outcome(LEFT, seen=0.5)]).people
    out = person.outputs("model")
    pictured = ~np.isnan(out["score_image"])
    assert not np.isnan(out["score_audio"]).any() and out["window_start"][pictured].max() == pytest.approx(1.6)
    assert len(out["window_start"]) == 9


def test_a_piece_that_fails_is_told_and_the_others_are_kept(detector):
    broken = extract.Outcome("undecodable", "nothing of the video can be decoded")
    one = looked_at(detector, [outcome(LEFT)], [broken], [outcome(LEFT)])
    content = verdict.verdict(one, detector, 0.5).content
    (gap,) = content["coverage"]["gaps"]
    assert (gap["start"], gap["end"], gap["status"]) == (4.0, 8.0, "undecodable")
    assert content["file"]["status"] == "truncated" and "4 to 8 s: undecodable, nothing of" in content["file"]["reason"]
    assert content["coverage"]["seconds"] == 12.0 and content["coverage"]["seconds_judged"] == pytest.approx(8.0)
    starts = {stretch["start"] for stretch in content["stretches"]}
    assert min(starts) == 0.0 and max(starts) == 10.0 and not starts & {4.0, 6.0}
    assert any("not all could be judged: 4 to 8 s" in line for line in verdict.Verdict(content, one).terminal())
    hand_made.check(content, hand_made.SCHEMA["properties"]["verdicts"]["items"])


def test_a_gap_begins_where_the_damage_does(detector):
    """A container that is cut off says so in every piece, also in those that are whole."""
    cut = {"status": "truncated", "reason": "the file ends early"}
    whole, half = (dataclasses.replace(outcome(LEFT, seconds=s), **cut) for s in (4.0, 2.4))
    one = looked_at(detector, [whole], [half], [extract.Outcome("undecodable", "nothing")])
    assert [(gap.start, gap.end) for gap in one.gaps] == [(6.4, 8.0), (8.0, 12.0)]
    assert one.status == "truncated" and one.seconds == pytest.approx(6.4)


def test_people_are_matched_one_to_one_by_the_greatest_overlap():
    before = [(0, LEFT), (1, MIDDLE), (5, RIGHT)]
    assert people.matched(before, [MIDDLE, LEFT]) == [1, 0]
    # The second box overlaps most with person 1, who is the first one's only match.
    assert people.matched(before[:2], [(16, 0, 36, 20), (6, 0, 26, 20)]) == [1, 0]
    assert people.matched(before, [None, (100, 0, 120, 20)]) == [None, None]
    assert people.matched([], [LEFT]) == [None] and people.matched(before, []) == []


def test_who_is_gone_at_the_border_is_not_who_comes_after_it(detector):
    assert len(looked_at(detector, [outcome(LEFT)], [outcome(LEFT)]).people) == 1
    assert len(looked_at(detector, [outcome(LEFT, seen=0.6)], [outcome(LEFT)]).people) == 2


def test_each_scorer_has_its_own_crops_and_quality_those_of_validation(detector):
    (scorer,) = detector.scorers
    large = dataclasses.replace(scorer, name="large", crops=dataclasses.replace(scorer.crops, face_size=64))
    short = dataclasses.replace(scorer, name="short", crops=dataclasses.replace(scorer.crops, max_seconds=1.0))
    ears = dataclasses.replace(large, name="ears", data={**large.data, "streams": {"audio": {}}})
    made = dataclasses.replace(detector, scorers=(large, ears, short, scorer))
    groups = [(crops.face_size, [each.name for each in scorers]) for crops, scorers in examine._groups(made)]
    assert groups == [(32, ["ears", "short", "model"]), (64, ["large"])]
    assert {crops.max_seconds for crops, _ in examine._groups(made)} == {media.LIMITS.seconds}


def test_pictures_are_spread_over_the_file_the_most_suspicious_first(detector):
    person = Person(frames=1)
    stretches = [judged.Stretch(10.0 * i, 10.0 * (i + 1), float(i == 2), {}) for i in range(6)]
    of_person = judged.Judged(
        "a", person, None, 0.5, (), tuple(stretches), (), None, None, np.ones(1500, bool), (), (), ()
    )
    faces = (Face(0, LEFT),)
    shown = [Shown(float(time), b"", faces if time % 2 else ()) for time in range(60)]
    one = Examined("a", seconds=60.0, shown=shown)
    found = judged.Judgement((of_person,), of_person, None, (), None, ()).pictures(one, 6)
    assert [picture.time for picture in found] == [21.0, 1.0, 11.0, 31.0, 41.0, 51.0]
