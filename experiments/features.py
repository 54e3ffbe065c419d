"""Features of frozen encoders, computed once per dataset and trained on: `config.finetune.cache`.

The key of a cache names everything that its features depend on: the encoders and the SHA-256 of their weights, the
records' digest and the clips taken from them, the windows and the precision. So a stale cache cannot be read.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from data_pipelines import cache
from data_pipelines.loading import loader, sampling
from data_pipelines.loading.windows import SEEN
from data_pipelines.source import Batches, Source
from experiments.run_directory import log
from mmdf_jax.models.encode import encode


@dataclasses.dataclass(frozen=True)
class Features:
    """A Source: evenly spaced windows of every record of a split, as a batch of arrays [clips * windows …] on disk.

    A stream of a batch is {"tokens", "pooled"} instead of pixels or samples.
    """

    records: Source
    windows: int
    digest: str
    arrays: Mapping[str, np.ndarray]

    @property
    def index(self) -> list[Any]:
        return self.records.index

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, i: int) -> Mapping[str, Any]:
        return self.records[i]

    def draw(self, i: int, rng: np.random.Generator) -> Mapping[str, Any]:
        """The record that the features of clip i are of."""
        return self.records.draw(i, rng)

    def train_batches(
        self, data: Mapping[str, Any], *, seed: int, start_step: int = 0, process_index: int = 0, process_count: int = 1
    ) -> Batches:
        """See Source: the same order of clips as from their records, and a random one of each clip's windows."""
        settings = loader.Settings.of(data)
        rows = settings.local_rows(process_index, process_count)
        usable = np.flatnonzero(self._trainable.any(axis=1)).tolist()
        clips = [row.clip for row in self.index]
        order = sampling.training_order(clips, usable, balance=settings.balance, seed=seed)
        step = start_step
        while True:
            first = step * settings.batch_size + process_index * rows
            yield self._rows([self._window(order, seed, number) for number in range(first, first + rows)])
            step += 1

    def _window(self, order: sampling.Order, seed: int, number: int) -> int:
        row = order.row(number)
        places = np.flatnonzero(self._trainable[row])
        return row * self.windows + int(sampling.example_rng(seed, number).choice(places))

    @functools.cached_property
    def _trainable(self) -> np.ndarray:
        """[clips windows] bool: could be read, and shows half as many faces as the clip's best window, at least one."""
        trainable = self.arrays["mask"].reshape(len(self), self.windows)
        for name in ("image", "video", "mouth"):
            if f"{name}_valid" in self.arrays:
                seen = self.arrays[f"{name}_valid"].sum(axis=1).reshape(trainable.shape)
                shown = (seen > 0) & (seen >= SEEN * seen.max(axis=1, keepdims=True))
                trainable = trainable & (shown | ~self.arrays[f"{name}_mask"].reshape(trainable.shape))
        return trainable

    def eval_batches(
        self, data: Mapping[str, Any], *, windows: int, process_index: int = 0, process_count: int = 1
    ) -> Batches:
        """See Source. ValueError unless `windows` is the number that there are."""
        self._check(windows)
        batch_size = data["batch_size"]
        rows, total = batch_size // process_count, len(self.arrays["mask"])
        for start in range(0, total, batch_size):
            numbers = np.arange(rows) + start + process_index * rows
            batch = self._rows(np.minimum(numbers, total - 1))
            batch["mask"] = batch["mask"] & (numbers < total)
            batch["clip_index"] = np.where(numbers < total, batch["clip_index"], -1)
            yield batch

    def eval_steps(self, data: Mapping[str, Any], *, windows: int) -> int:
        """See Source; errors as in `eval_batches`."""
        self._check(windows)
        return -(-len(self.arrays["mask"]) // data["batch_size"])

    def _check(self, windows: int) -> None:
        if windows != self.windows:
            raise ValueError(f"windows: expected {self.windows}, of which there are features, found {windows}")

    def _rows(self, rows: Any) -> dict[str, Any]:
        batch: dict[str, Any] = {}
        for name, array in self.arrays.items():
            stream, dot, part = name.partition(".")
            if dot:
                batch.setdefault(stream, {})[part] = np.asarray(array[rows])
            else:
                batch[name] = np.asarray(array[rows])
        return batch


def ensure(
    config: Mapping[str, Any], model: Any, variables: Mapping[str, Any], splits: Mapping[str, Source]
) -> dict[str, Features]:
    """The features of the training and validation records, computed with progress if they are not in the cache.

    Raises:
      ValueError: the config cannot be trained on cached features; the message says what to change.
    """
    if config["finetune"]["mode"] != "frozen":
        raise ValueError("config.finetune.cache needs config.finetune.mode=frozen: other modes change the encoders")
    if config["data"]["augment"]:
        raise ValueError("config.finetune.cache: cached features cannot be augmented; set --config.data.augment='()'")
    if config["data"].get("pseudo_fakes"):
        raise ValueError("config.finetune.cache: pseudo-fakes are made anew each time; cache features without them")
    if unknown := sorted(set(config["model"]["encoders"]) - set(config["data"]["streams"])):
        raise ValueError(f"config.finetune.cache: the encoder {unknown[0]!r} reads no stream, but what is made of one")
    if config["evaluate"].get("stride"):
        raise ValueError("config.finetune.cache: features are of evaluate.windows windows; set evaluate.stride=0")
    if jax.process_count() > 1:
        raise ValueError("config.finetune.cache works in one process (with all its devices)")
    return {split: _ensure_split(config, model, variables, splits[split]) for split in ("train", "val")}


def _ensure_split(config: Mapping[str, Any], model: Any, variables: Mapping[str, Any], records: Source) -> Features:
    windows = config["evaluate"]["windows"]
    key = _key(config, variables, records)
    folder = cache.root() / "features" / key
    if not folder.exists():
        _compute(config, model, variables, records, folder)
    arrays = {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in sorted(folder.glob("*.npy"))}
    log.info("features of %d windows in %s", len(arrays["mask"]), folder)
    return Features(records, windows, key, arrays)


def _key(config: Mapping[str, Any], variables: Mapping[str, Any], records: Source) -> str:
    weights = hashlib.sha256()
    for part in ("params", "batch_stats"):
        frozen = {name: tree for name, tree in variables[part].items() if name.startswith("encoders_")}
        for leaf in jax.tree.leaves(jax.device_get(frozen)):
            weights.update(leaf.tobytes())
    data = config["data"]
    cut = {name: data.get(name) for name in ("window", "streams", "trim_silence", "targets")}
    named = {
        "encoders": config["model"]["encoders"],
        "model": config["model"]["name"],
        "weights": weights.hexdigest(),
        "records": records.digest,
        "cut": cut,
        "windows": config["evaluate"]["windows"],
        "dtype": config["train"]["dtype"],
    }
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:32]


def _compute(
    config: Mapping[str, Any], model: Any, variables: Mapping[str, Any], records: Source, folder: pathlib.Path
) -> None:
    """Writes one .npy per array into `folder`, which appears when all is there."""
    data = {**config["data"], "batch_size": config["evaluate"]["batch_size"]}
    windows = config["evaluate"]["windows"]
    total = len(records) * windows
    run = jax.jit(functools.partial(_encode_streams, model, config))
    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    partial.mkdir(parents=True)
    arrays: dict[str, np.ndarray] = {}
    try:
        steps = records.eval_steps(data, windows=windows)
        with records.eval_batches(data, windows=windows) as batches:
            for i, batch in enumerate(tqdm(batches, "features", steps, unit="batch")):
                rows = {name: values for name, values in batch.items() if name not in data["streams"]}
                rows |= jax.device_get(run(variables, batch))
                start = i * data["batch_size"]
                for name, values in rows.items():
                    if name not in arrays:
                        shape = (total, *values.shape[1:])
                        arrays[name] = np.lib.format.open_memmap(
                            partial / f"{name}.npy", "w+", dtype=values.dtype, shape=shape
                        )
                    arrays[name][start : start + len(values)] = values[: total - start]
        for array in arrays.values():
            array.flush()
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another run has made the same features meanwhile
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _encode_streams(
    model: Any, config: Mapping[str, Any], variables: Mapping[str, Any], batch: Mapping[str, Any]
) -> dict[str, jax.Array]:
    """{"image.pooled": [b d], "image.tokens": [b t … d], …}; tokens only where the model fuses them."""
    features = {}
    for stream, encoder in model.encoders.items():
        name = f"encoders_{stream}"
        own = {part: variables[part].get(name, {}) for part in ("params", "batch_stats")}

        def of_encoder(x: jax.Array, *, encoder: Any = encoder, own: Any = own, **options: Any) -> Any:
            return encoder.apply(own, x, **options)

        encoded = encode(of_encoder, stream, batch, train=False)
        features[f"{stream}.pooled"] = encoded["pooled"].astype(jnp.float32)  # bfloat16 has no .npy form
        if config["model"]["name"] != "mmdf_jax.models.unimodal":
            features[f"{stream}.tokens"] = encoded["tokens"].astype(jnp.float32)
    return features
