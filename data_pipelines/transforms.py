"""Augmentations of an example's decoded streams: uint8 images and int16 sound in and out, random by a given generator."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class HorizontalFlip:
    p: float = 0.5

    def __call__(self, example, rng):
        if rng.random() < self.p:
            example = example | {k: example[k][:, :, ::-1] for k in ("image", "video", "mouth") if k in example}
        return example
