"""Reading records back, piece by piece, also from damaged, foreign and several files."""

import csv
import functools
import json
import pickle

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from prepared_clips import CROPS

from data_pipelines.loading.windows import BadRecord
from data_pipelines.prepare import extract, record_files, records
from data_pipelines.record import Layout


def test_records_are_picklable_and_open_anew(prepared):
    source = records.Records(prepared, "train")
    first = source[0]
    copy = pickle.loads(pickle.dumps(source))
    assert copy[0]["frames"] == first["frames"]
    assert copy.index == source.index


def test_folders_that_hold_no_records(tmp_path, prepared, clips):
    with pytest.raises(FileNotFoundError, match="no prepared records"):
        records.Records(tmp_path, "train")
    with pytest.raises(ValueError, match="no records of split 'dev'; there are train, val, test"):
        records.Records(prepared, "dev")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(ValueError, match="holds something else"):
        records.prepare(clips, tmp_path / "mine", crops=CROPS)
    with pytest.raises(ValueError, match="cannot write the records"):
        records.prepare(clips, tmp_path / "mine" / "thesis.txt" / "out", crops=CROPS)


def test_another_version_is_refused(tmp_path, clips, monkeypatch):
    out = records.prepare(clips[:1], tmp_path / "out", crops=CROPS, workers=1)
    header = json.loads((out / "records.json").read_text())
    (out / "records.json").write_text(json.dumps(header | {"version": 0}))
    with pytest.raises(ValueError, match="records of version 0"):
        records.Records(out, "train")


def test_a_damaged_file_names_the_record(tmp_path, clips):
    out = records.prepare(clips, tmp_path / "out", crops=CROPS, workers=2)
    (path,) = out.glob("clips/*/*-train*")
    data = bytearray(path.read_bytes())
    data[20_000:24_000] = bytes(4000)
    path.write_bytes(data)
    source = records.Records(out, "train")
    with pytest.raises(BadRecord, match=r"record 0 of split 'train' cannot be read"):
        list(source[0].items()), source[0]["audio"][:], list(source[0]["frames"]), list(source[0]["mouth"])


def test_pieces_are_read_alone_and_make_up_the_whole(prepared, clips):
    source = records.Records(prepared, "train")
    whole = [extract.extract(extract.Job(clips[i], CROPS)).record for i in (0, 2, 4)]
    for i, stored in enumerate(whole):
        record, layout = source[i], source.index[i].layout
        assert layout.first == (source.index[i - 1].layout.starts[-1] if i else 0)
        assert record["frames"] == stored["frames"]
        assert [record["mouth"][j] for j in (-1, 0)] == [stored["mouth"][j] for j in (-1, 0)]
        assert record["frames"][3:12:2] == stored["frames"][3:12:2]
        audio = np.frombuffer(stored["audio"], np.int16)
        np.testing.assert_array_equal(record["audio"][:], audio)
        for first, last in ((0, 1), (8191, 8193), (9000, 10**6), (0, 0), (10**6, 10**6 + 5), (16384, 16384)):
            np.testing.assert_array_equal(record["audio"][first:last], audio[first:last])
        assert {*record} == {*stored, "mask", *json.loads(stored["info"])} - {"info"}
        assert len(record) == len({**record})
    read = []
    record = source[2]
    reader, record._read = record._read, lambda *what: (read.append(what), reader(*what))[1]
    record["frames"][len(record["frames"]) // 2]
    record["audio"][0:100]
    assert [last - first for first, last, _ in read] == [1, 1]
    with pytest.raises(IndexError, match="image 45 of 45"):
        record["frames"][45]
    with pytest.raises(KeyError):
        record["tracks"]


def test_records_may_lie_in_several_files(tmp_path, clips, prepared, monkeypatch):
    """As TFDS writes large ones; a clip's pieces then go on in the next file."""
    builder = tfds.core.GeneratorBasedBuilder
    shards = tfds.download.DownloadConfig(num_shards=3)
    write = functools.partialmethod(builder.download_and_prepare, download_config=shards)
    monkeypatch.setattr(builder, "download_and_prepare", write)
    out = records.prepare(clips, tmp_path / "out", crops=CROPS, workers=2)
    assert len([*out.glob("clips/*/*-train*")]) == 3
    for one, other in zip(records.Records(out, "train"), records.Records(prepared, "train"), strict=True):
        assert one["frames"] == other["frames"] and one["mouth"] == other["mouth"]
        np.testing.assert_array_equal(one["audio"][:], other["audio"][:])
        np.testing.assert_array_equal(one["times"], other["times"])


def test_no_example_is_larger_than_needed(clips):
    rng = np.random.default_rng(0)
    record = {"info": b"{}", "found": b"\1" * 90, "frames": [rng.bytes(n) for n in range(2000, 2090)], "mouth": []}
    record["audio"] = rng.bytes(100_001 * 2)
    layout = Layout.of(record)
    examples = list(layout.split(record))
    assert len(examples) == layout.starts[-1] == 1 + 13 + 12
    assert all(len(e["audio"]) + sum(map(len, e["frames"])) < 17_000 for e in examples)
    assert [image for e in examples for image in e["frames"]] == record["frames"]
    assert b"".join(e["audio"] for e in examples) == record["audio"]
    assert (examples[0]["found"], examples[1]["found"], examples[1]["info"]) == (record["found"], b"", b"")
    huge = {"audio": b"", "frames": [rng.bytes(50_000)] * 3, "mouth": []}
    assert [len(e["frames"]) for e in Layout.of(huge).split(huge)] == [0, 1, 1, 1]


def test_masks_are_written_and_read_back_beside_records_without(tmp_path, clips):
    """And an index from before there were masks is read as it was."""
    masks = [cv2.imencode(".png", np.full((16, 16), i, np.uint8))[1].tobytes() for i in range(25)]

    def with_masks(jobs, workers, caps):
        for i, (path, job) in enumerate(jobs):
            outcome = extract.extract(job)
            if i == 0:
                outcome.record["mask"] = masks
            records.spool(path, outcome)

    out = records.prepare(clips, tmp_path / "out", crops=CROPS, runner=with_masks)
    source = records.Records(out, "train")
    assert source[0]["mask"] == masks and source[1]["mask"] == []
    frames = [list(record["frames"]) for record in source]
    plain = records.prepare(clips, tmp_path / "plain", crops=CROPS, workers=1)
    rows = list(csv.DictReader((plain / "index.csv").read_text().splitlines()))
    with open(plain / "index.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, [n for n in rows[0] if not n.startswith("mask")], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    old = records.Records(plain, "train")[1]
    assert old["frames"] == frames[1] and old["mask"] == []


def test_packing_is_reversible():
    record = {"a": b"", "b": [b"x", b"", b"yz"], "c": [], "d": b"\n{}"}
    assert record_files.unpack(record_files.pack(record)) == record
