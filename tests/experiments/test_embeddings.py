"""The vectors that a run leaves of its test clips: which, of what, and as which bytes."""

import numpy as np
import pytest

from experiments import embeddings
from experiments.evaluators import scoring
from experiments.score_table import ScoreRow


def test_what_is_written_comes_back_and_is_the_same_bytes(tmp_path):
    vectors = {"d/a": np.array([0.5, -1e9]), "d/\u4eba\udcff": np.array([1.25, 3.0])}
    paths = [tmp_path / name / embeddings.FILE for name in "ab"]
    for path in paths:
        embeddings.write(path, vectors)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    found = embeddings.read(paths[0])
    assert list(found) == list(vectors) and found["d/a"].tolist() == [0.5, -65504.0]
    for text in (b"", b"no archive", paths[0].read_bytes()[:150]):
        paths[1].write_bytes(text)
        with pytest.raises(ValueError, match=r"b/embeddings_test\.npz: expected clip_id and vectors of a run"):
            embeddings.read(paths[1])
    np.savez(paths[1], clip_id=np.array([b"a", b"b"]), vectors=np.zeros((1, 2), np.float16))
    with pytest.raises(ValueError, match=r"expected a finite vector for each clip, found \(1, 2\) for 2 clips"):
        embeddings.read(paths[1])


def test_clips_are_evenly_spread_and_vectors_are_the_mean_of_their_windows():
    assert embeddings.chosen(3).tolist() == [0, 1, 2] and not len(embeddings.chosen(0))
    some = embeddings.chosen(10_000)
    assert len(some) == embeddings.CLIPS and some[0] == 0 and some[-1] == 9_999
    rows = [ScoreRow(name, 0, score=0.5, status="ok" if name != "b" else "abstained") for name in "abc"]
    batches = [(np.array([0, 0, 1]), np.array([[1.0], [2.0], [9.0]])), (np.array([2]), np.array([[4.0]]))]
    found = scoring._embeddings(batches, np.arange(3), rows)
    assert {clip: vector.tolist() for clip, vector in found.items()} == {"a": [1.5], "c": [4.0]}
    assert scoring._embeddings([], np.arange(3), rows) == {}


def test_the_vector_is_the_fused_one_or_that_of_the_only_stream():
    assert embeddings.of_model({"embeddings": {"audio": 1, "fused": 2}}) == 2
    assert embeddings.of_model({"embeddings": {"audio": 1}}) == 1
    assert embeddings.of_model({"embeddings": {"audio": 1, "mouth": 2}}) is None
    assert embeddings.of_model({}) is None
