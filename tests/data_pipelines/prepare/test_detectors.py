"""dlib on noise; YuNet as OpenCV runs it, on a small model of the real one's inputs and outputs."""

import types

import cv2
import numpy as np
import pytest

from data_pipelines.prepare import detectors

IN_BOX = detectors.YuNet._IN_BOX
CELL, SIDE = 32, 128  # a white cell of the painted picture is the middle of a face of this side


@pytest.fixture
def yunet(tmp_path, yunet_model):
    """The detector with the model that takes white squares for faces."""
    return detectors.YuNet(str(yunet_model(tmp_path / "small.onnx")))


def painted(width, height, *cells):
    """A black picture with white cells, given by column and row."""
    picture = np.zeros((height, width, 3), np.uint8)
    for x, y in cells:
        picture[y * CELL : (y + 1) * CELL, x * CELL : (x + 1) * CELL] = 255
    return picture


def centre(face):
    return (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2


def test_dlib_takes_any_picture():
    detector = detectors.detector("")
    assert detector is detectors.detector("")
    noise = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    assert detector(noise) == []
    strided = np.zeros((90, 200, 3), np.uint8)[:, ::2]
    assert detector(strided) == []
    face = detector.follow(noise, (20, 20, 80, 80))
    assert face.landmarks.shape == (68, 2)
    assert np.abs(face.landmarks - 50).max() < 80
    light, dark = (detector.describe(picture, face) for picture in (noise, noise // 2))
    assert light.shape == (128,)
    assert np.linalg.norm(light - dark) < detectors.SAME


def test_yunet_finds_what_its_model_finds(yunet):
    assert yunet(painted(640, 480)) == []
    faces = yunet(painted(640, 480, (5, 4), (14, 9)))
    assert sorted(map(centre, faces)) == [pytest.approx((176, 144), abs=1), pytest.approx((464, 304), abs=1)]
    for face in faces:
        assert face.size == pytest.approx(SIDE, abs=2)
        assert face.score == pytest.approx(0.1, abs=1e-3)  # the model is sure
        assert face.landmarks.shape == (68, 2)
        assert np.abs(face.landmarks - centre(face)).max() < SIDE
    assert "small.onnx" in yunet.name
    assert "dlib" in yunet.name


@pytest.mark.parametrize("factor", [2, 0.5])
def test_yunet_gives_pixels_of_the_picture(yunet, factor):
    picture = cv2.resize(painted(480, 640, (5, 4)), None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    (face,) = yunet(picture)
    assert centre(face) == pytest.approx((176 * factor, 144 * factor), abs=2)
    assert face.size == pytest.approx(SIDE * factor, rel=0.03)


def stub(monkeypatch, tmp_path, rows):
    """The detector whose network says `rows`, and the pictures that the network was given."""
    shown = []

    def detect(picture):
        shown.append(picture)
        return 1, None if rows is None else np.array(rows, np.float32)

    network = types.SimpleNamespace(create=lambda *_: types.SimpleNamespace(detect=detect))
    monkeypatch.setattr(cv2, "FaceDetectorYN", network)
    path = tmp_path / "stub.onnx"
    path.write_bytes(b"model")
    return detectors.YuNet(str(path)), shown


def row(x, y, side, score=0.95, angle=0.0):
    """What the network says of a face whose box has this middle, side and turn (radians)."""
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points = (IN_BOX - 0.5) * side @ turn + (x, y)
    return [x - 0.4 * side, y - 0.6 * side, 0.8 * side, 1.1 * side, *points.ravel(), score]


def test_nobody_in_the_picture(monkeypatch, tmp_path):
    detector, _ = stub(monkeypatch, tmp_path, None)
    assert detector(np.zeros((480, 640, 3), np.uint8)) == []


def test_the_network_sees_the_whole_picture_in_blue_green_red(monkeypatch, tmp_path):
    detector, shown = stub(monkeypatch, tmp_path, [row(200, 150, 100)])
    picture = np.full((960, 1280, 3), (250, 120, 10), np.uint8)
    (face,) = detector(picture)
    assert shown[-1].shape == (640, 640, 3)
    np.testing.assert_array_equal(shown[-1][:480], np.full((480, 640, 3), (10, 120, 250)))
    assert not shown[-1][480:].any()
    assert centre(face) == pytest.approx((400, 300), abs=2)
    assert face.size == pytest.approx(200, abs=3)


def test_scores_say_which_faces_begin_a_track(monkeypatch, tmp_path):
    rows = [row(100, 100, 80, 0.95), row(300, 100, 90, 0.7), row(500, 100, 100, 0.91)]
    found = stub(monkeypatch, tmp_path, rows)[0](np.zeros((480, 640, 3), np.uint8))
    assert [face.score > 0 for face in found] == [True, False, True]  # the largest first
    assert [round(face.size / 10) for face in found] == [10, 9, 8]


def test_the_box_is_that_of_the_five_points_also_of_a_tilted_face(monkeypatch, tmp_path):
    detector, _ = stub(monkeypatch, tmp_path, [row(300, 200, 120, angle=0.4)])
    (face,) = detector(np.zeros((480, 640, 3), np.uint8))
    assert face.box == pytest.approx((240, 140, 360, 260), abs=1.5)


def test_rows_that_are_no_faces_are_left_out(monkeypatch, tmp_path):
    good, flat, outside, lost = row(320, 240, 100), row(100, 100, 80), row(900, 240, 100), row(100, 600, 100)
    flat[2] = 0.0
    infinite, point, vast = row(200, 200, 80), row(500, 240, 100), row(320, 240, 1e6)
    infinite[4] = np.inf
    point[4:14] = [500, 240] * 5
    vast[:4] = good[:4]
    partly = row(630, 240, 100)  # reaches beyond the edge: it stays
    rows = [good, flat, outside, lost, infinite, point, vast, partly]
    found = stub(monkeypatch, tmp_path, rows)[0](np.zeros((480, 640, 3), np.uint8))
    assert sorted(round(centre(face)[0]) for face in found) == [320, 630]
    assert all(np.isfinite(face.landmarks).all() for face in found)


def test_at_most_four_faces(monkeypatch, tmp_path):
    rows = [row(60 + 60 * i, 200, 30 + 10 * i) for i in range(8)]
    found = stub(monkeypatch, tmp_path, rows)[0](np.zeros((480, 640, 3), np.uint8))
    assert [round(face.size / 10) for face in found] == [10, 9, 8, 7]


def test_files_that_are_no_model(tmp_path, yunet_model, capfd):
    with pytest.raises(FileNotFoundError, match=r"crops\.yunet='.*none\.onnx': there is no such file"):
        detectors.check(str(tmp_path / "none.onnx"))
    with pytest.raises(FileNotFoundError, match="no such file"):
        detectors.check(str(tmp_path))
    contents = {
        "empty.onnx": b"",
        "text.onnx": b"hello",
        "page.onnx": b"<!DOCTYPE html><html></html>",
        "other.onnx": yunet_model(tmp_path / "small.onnx", heads=("cls", "obj")).read_bytes(),
        "cut.onnx": yunet_model(tmp_path / "small.onnx").read_bytes()[:600],
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}': OpenCV .* cannot use it \(.*expected the ONNX file") as error:
            detectors.check(str(tmp_path / name))
        assert "\n" not in str(error.value)
    (tmp_path / "pointer.onnx").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 232589\n")
    with pytest.raises(ValueError, match="a Git LFS pointer, not the model"):
        detectors.check(str(tmp_path / "pointer.onnx"))
    assert capfd.readouterr().err == ""  # OpenCV says nothing beside
