"""Score tables: what is written is read back; what is wrong is refused with file and line."""

import math

import pytest

from experiments.score_table import ScoreRow, read, write


def rows():
    return [
        ScoreRow(
            "set/a.mp4",
            label=0,
            score=1 / 3,
            dataset="set",
            split="test",
            identity="p1",
            method="real",
            video_label=0,
            audio_label=0,
            extra={"score_image": 0.1, "segments": "[]", "sync_offset": -3.0},
        ),
        ScoreRow(
            'set/b, "c" é.mp4',
            label=1,
            score=math.nan,
            status="abstained: no face",
            video_label=1,
            extra={"score_image": math.nan, "segments": "[[0.1, 0.5]]", "sync_offset": math.nan},
        ),
    ]


def same(a, b):
    return repr(a) == repr(b)  # nan differs from itself


def test_what_is_written_is_read_back_to_the_last_bit(tmp_path):
    write(tmp_path / "scores" / "test.csv", rows())
    assert same(read(tmp_path / "scores" / "test.csv"), rows())
    assert [path.name for path in (tmp_path / "scores").iterdir()] == ["test.csv"]


def test_a_film_has_long_cells(tmp_path):
    film = ScoreRow("film.mp4", label=1, score=0.5, extra={"frame_video": f"[{'0.5, ' * 50_000}0.5]"})
    write(tmp_path / "test.csv", [film])
    assert same(read(tmp_path / "test.csv"), [film])


def test_rows_may_have_different_extra_columns(tmp_path):
    write(tmp_path / "t.csv", [ScoreRow("a", 0, 0.5, extra={"x": 1.0}), ScoreRow("b", 1, 0.5, extra={"y": "z"})])
    first, second = read(tmp_path / "t.csv")
    assert first.extra["x"] == 1 and first.extra["y"] == ""
    assert math.isnan(second.extra["x"]) and second.extra["y"] == "z"


def test_three_columns_of_a_strangers_detector_suffice(tmp_path):
    path = tmp_path / "theirs.csv"
    path.write_text("score, clip_id ,label\r\n0.25,x.mp4,0\r\n1,y.mp4,1.0\r\n", encoding="utf-8-sig")
    first, second = read(path)
    assert (first.clip_id, first.label, first.score, first.method) == ("x.mp4", 0, 0.25, "")
    assert (second.label, second.score, second.audio_label, second.status) == (1, 1.0, -1, "ok")


def test_two_methods_with_one_file_stem_are_two_clips_and_clips_of_one_person(tmp_path):
    path = tmp_path / "ff.csv"
    path.write_text(
        "clip_id,dataset,identity,method,label,score\n"
        "ff/Deepfakes/000_003,ff,000,Deepfakes,1,0.9\n"
        "ff/Face2Face/000_003,ff,000,Face2Face,1,0.2\n"
        "celeb/000_003,celeb,000,real,0,0.2\n"
    )
    deepfakes, face2face, other = read(path)
    assert deepfakes.clip_id != face2face.clip_id and deepfakes.group == face2face.group
    assert other.group != face2face.group  # the same name in another dataset is another person


def test_a_clip_without_identity_is_its_own_group():
    assert ScoreRow("a", 0, 0.1).group != ScoreRow("b", 0, 0.1).group


@pytest.mark.parametrize(
    "text, message",
    [
        ("clip_id,score\na,0\n", "column 'label' is missing; found clip_id, score"),
        ("", "column 'clip_id' is missing; found an empty file"),
        ("clip_id,label,score,label\na,0,0.1,1\n", "column 'label' stands there twice"),
        ("clip_id,label,score\na,0,0.5\nb,2,0.5\n", "line 3: label must be 0 .real. or 1 .fake., found '2'"),
        ("clip_id,label,score\na,fake,0.5\n", "line 2: label must be .* found 'fake'"),
        ("clip_id,label,score\na,,0.5\n", "line 2: label must be .* found ''"),
        ("clip_id,label,score\na,-1,0.5\n", "line 2: label must be .* found '-1'"),
        ("clip_id,label,score\na,0,1.01\n", r"line 2: score must be a number in \[0, 1\], found '1.01'"),
        ("clip_id,label,score\na,0,-0.1\n", r"score must be a number in \[0, 1\], found '-0.1'"),
        ("clip_id,label,score\na,0,nan\n", "score must be .* found 'nan'"),
        ("clip_id,label,score\na,0,inf\n", "score must be .* found 'inf'"),
        ("clip_id,label,score\na,0,high\n", "score must be .* found 'high'"),
        ("clip_id,label,score\na,0,\n", "line 2: score of 'a' is empty"),
        ("clip_id,label,score\n,0,0.5\n", "line 2: clip_id is empty"),
        ("clip_id,label,score\na,0,0.5\nb,0,0.5\na,1,0.5\n", "line 4: clip 'a' was already on line 2"),
        ("clip_id,label,score\na,0\n", "line 2: expected 3 cells"),
        ("clip_id,label,score\na,0,0.5,7\n", "line 2: expected 3 cells"),
        ("clip_id,label,score,audio_label\na,0,0.5,3\n", "audio_label must be 0, 1 or -1, found '3'"),
        ("clip_id,label,score,score_image\na,0,0.5,7\n", "score_image must be a number in"),
        ('clip_id,label,score\n"a,0,0.5\n', "not a CSV table"),
    ],
)
def test_what_is_wrong_is_refused_with_file_and_line(tmp_path, text, message):
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_binary_and_missing_files(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00\x80clip_id")
    with pytest.raises(ValueError, match="UTF-8"):
        read(tmp_path / "t.csv")
    with pytest.raises(FileNotFoundError, match=r"gone\.csv: no such score table"):
        read(tmp_path / "gone.csv")


def test_failed_writing_leaves_the_old_table_and_no_debris(tmp_path):
    path = tmp_path / "t.csv"
    write(path, rows())
    before = path.read_bytes()

    class Broken:
        def __str__(self):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write(path, [*rows(), ScoreRow("c", 0, 0.5, extra={"x": Broken()})])
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_extra_columns_may_not_shadow_the_standard_ones(tmp_path):
    with pytest.raises(ValueError, match="label"):
        write(tmp_path / "t.csv", [ScoreRow("a", 0, 0.5, extra={"label": 1.0})])
