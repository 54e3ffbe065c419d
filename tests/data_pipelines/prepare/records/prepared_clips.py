"""What tests of records have in common: crops, clips, pictures."""

import cv2
import numpy as np

from data_pipelines.clip import Clip
from data_pipelines.prepare import records

CROPS = records.Crops(face_size=48, mouth_size=32)


def clip_of(path, label=0, **fields):
    landmarks = str(path.with_suffix(".npz")) if path.with_suffix(".npz").exists() else ""
    return Clip(f"t/{path.name}", str(path), label, landmarks_path=landmarks, dataset="t", **fields)


def image(data, flag=cv2.IMREAD_COLOR):
    return cv2.imdecode(np.frombuffer(data, np.uint8), flag)
