"""Low-rank adaptation of attention (Hu et al. 2022): each chosen matrix W becomes W + alpha / rank * A B, A B trained.

The matrices lie under `lora` beside the model's parameters. So published weights keep their names, and no encoder knows
of the adaptation.
"""

import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import traverse_util

from mmdf_jax.typing import Array


@dataclasses.dataclass(frozen=True)
class Adapted:
    """A model with low-rank matrices added to the encoders' attention; `init` and `apply` as the model's.

    pattern: which kernels [d_in d_out], by path. Default: queries and values, as in the paper.
    """

    model: nn.Module
    rank: int = 8
    alpha: float = 16.0
    pattern: str = r"^encoders_\w+/.*attn/(query|value)/kernel$"

    def init(self, key: Array, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The model's variables, and `params/lora`: A normal, B zero, so that nothing changes at first.

        Raises:
          ValueError: no parameter matches `pattern`, or the rank is not positive.
        """
        if self.rank < 1:
            raise ValueError(f"config.finetune.rank={self.rank}: expected 1 or more")
        variables = self.model.init(key, *args, **kwargs)
        flat = traverse_util.flatten_dict(variables["params"], sep="/")
        chosen = [path for path in sorted(flat) if re.search(self.pattern, path)]
        if not chosen:
            raise ValueError("config.finetune.mode=lora: the encoders have no attention; choose another mode")
        lora = {}
        for path, k in zip(chosen, jax.random.split(jax.random.fold_in(key, 1), len(chosen)), strict=True):
            d_in, d_out = flat[path].shape
            lora[f"{path}/a"] = jax.random.normal(k, (d_in, self.rank)) / d_in**0.5
            lora[f"{path}/b"] = jnp.zeros((self.rank, d_out))
        return {**variables, "params": {**variables["params"], "lora": traverse_util.unflatten_dict(lora, sep="/")}}

    def apply(self, variables: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The model with the matrices added in."""
        params = {name: value for name, value in variables["params"].items() if name != "lora"}
        flat = traverse_util.flatten_dict(params, sep="/")
        lora = traverse_util.flatten_dict(variables["params"]["lora"], sep="/")
        for path in [path[:-2] for path in lora if path.endswith("/a")]:
            flat[path] = flat[path] + self.alpha / self.rank * lora[f"{path}/a"] @ lora[f"{path}/b"]
        return self.model.apply({**variables, "params": traverse_util.unflatten_dict(flat, sep="/")}, *args, **kwargs)
