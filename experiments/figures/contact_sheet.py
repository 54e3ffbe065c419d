"""Contact sheets of prepared records: each clip's name, label, status, and some of its face and mouth crops."""

import pathlib

import cv2
import numpy as np

from data_pipelines.prepare import records

_COLUMNS = 8  # crops per clip
_TILE = 96
_TEXT_WIDTH = 330
_ROWS = 8  # clips per page
_INK = {0: (40, 110, 40), 1: (30, 30, 170)}  # BGR, real and fake


def write(folder: pathlib.Path, pages: int = 4) -> list[pathlib.Path]:
    """Writes contact_sheet.png, contact_sheet_2.png ... into a records folder; returns their paths.

    Shows evenly spread clips where there are more than the pages hold. A crop with a red frame is interpolated: the
    face was not seen there.
    """
    report = records.read_report(folder)
    where = {}
    for split in dict.fromkeys(name for name, _ in records.read_index(folder)):
        source = records.Records(folder, split)
        where |= {row.clip.clip_id: (source, i) for i, row in enumerate(source.index)}
    chosen = np.unique(np.linspace(0, len(report) - 1, min(len(report), pages * _ROWS)).round().astype(int))
    paths = []
    for page, first in enumerate(range(0, len(chosen), _ROWS)):
        rows = [_row(report[i], where.get(report[i]["clip_id"])) for i in chosen[first : first + _ROWS]]
        path = pathlib.Path(folder) / f"contact_sheet{f'_{page + 1}' if page else ''}.png"
        path.write_bytes(cv2.imencode(".png", np.concatenate(rows))[1].tobytes())
        paths.append(path)
    return paths


def _row(facts: dict[str, str], place: tuple[records.Records, int] | None) -> np.ndarray:
    sheet = np.full((2 * _TILE + 6, _TEXT_WIDTH + _COLUMNS * _TILE, 3), 255, np.uint8)
    sheet[-2:] = 200
    label = int(facts["label"])
    lines = [
        facts["clip_id"][-44:].encode("ascii", "replace").decode(),
        f"{ {0: 'real', 1: 'fake'}.get(label, '?') }  {facts['method']}  {facts['split']}",
        f"{facts['status']}  face {int(facts['found'])}/{int(facts['frames'])}  "
        f"{float(facts['face_size']):.0f} px  {float(facts['duration']):.1f} s",
        *(facts["reason"][i : i + 46] for i in range(0, min(len(facts["reason"]), 138), 46)),
    ]
    for i, line in enumerate(lines):
        ink = _INK.get(label, (0, 0, 0)) if i == 1 else (0, 0, 0)
        cv2.putText(sheet, line, (6, 22 + 22 * i), cv2.FONT_HERSHEY_SIMPLEX, 0.42, ink, 1, cv2.LINE_AA)
    if place is None:
        return sheet
    source, i = place
    record = source[i]
    if not record["frames"]:
        return sheet
    for column, frame in enumerate(np.linspace(0, len(record["frames"]) - 1, _COLUMNS).round().astype(int)):
        left = _TEXT_WIDTH + column * _TILE
        for top, images in ((0, record["frames"]), (_TILE + 2, record["mouth"])):
            if images:
                tile = cv2.imdecode(np.frombuffer(images[frame], np.uint8), cv2.IMREAD_COLOR)
                tile = cv2.resize(tile, (_TILE - 2, _TILE - 2), interpolation=cv2.INTER_AREA)
                if not record["found"][frame]:
                    cv2.rectangle(tile, (0, 0), (_TILE - 3, _TILE - 3), (0, 0, 255), 2)
                sheet[top : top + _TILE - 2, left : left + _TILE - 2] = tile
    if not record["mouth"] and len(lines) * 22 < _TILE:
        return np.concatenate([sheet[: _TILE + 2], sheet[-2:]])  # where mouths are not cut, that half would be empty
    return sheet
