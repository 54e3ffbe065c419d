"""What is looked at a step late still names the right step; a failing device names the safe one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.step_metrics import DeviceError, NonFiniteError, StepMetrics, device_errors
from mmdf_jax import optim


def test_an_error_on_the_device_names_the_safe_step_though_the_state_is_lost():
    def failing(x):
        if x > 1:
            raise MemoryError("no room for x")
        return x

    step = jax.jit(
        lambda state: state + jax.pure_callback(failing, jax.ShapeDtypeStruct((), jnp.float32), state),
        donate_argnums=0,
    )
    state = step(jnp.float32(1.0))
    with pytest.raises(DeviceError, match=r"MemoryError: no room for x\..* step 7 is the last saved one") as error:
        with device_errors(lambda: 7):
            before = state
            state = step(before)
            state.block_until_ready()
    assert before.is_deleted() and "\n" not in str(error.value)


def test_no_memory_left_says_what_to_lower():
    with pytest.raises(DeviceError, match=r"RESOURCE_EXHAUSTED.* lower config\.data\.batch_size"):
        with device_errors(lambda: 7):
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nBuffers: …")


def test_a_step_that_is_not_finite_is_named_with_its_clips_when_the_next_comes():
    metrics = StepMetrics({}, lambda rows: ", ".join(f"clip{i}" for i in rows), lambda: 3)
    metrics.add(4, {"finite": np.True_, "loss": 1.0, "grad_norm": 1.0}, np.array([0, 1]))
    metrics.add(5, {"finite": np.False_, "loss": np.inf, "grad_norm": 1.0}, np.array([7, 2]))
    with pytest.raises(
        NonFiniteError, match=r"^step 5: the loss \(inf\).* Clips .*: clip7, clip2\. Step 3 is the last"
    ):
        metrics.add(6, {"finite": np.True_, "loss": 1.0, "grad_norm": 1.0}, np.array([3]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_number_of_one_leaf_makes_the_norm_not_finite(bad):
    tree = {f"block{i}": {"kernel": np.ones((3, 4), np.float32), "bias": np.zeros(4, np.float32)} for i in range(5)}
    assert np.isfinite(optim.norm(tree))
    tree["block3"]["bias"][2] = bad
    assert not np.isfinite(optim.norm(tree))
