"""THE training loop: mesh, data, model and optimizer, step, resume, loop. Read it top to bottom."""

import contextlib
import functools
import math
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from clu import parameter_overview

from data_pipelines.source import Source
from experiments import checkpoints, distributed, environment, features, model_from_config, progress
from experiments.evaluators import scoring
from experiments.metrics_log import MetricsLog
from experiments.run_directory import log
from experiments.step_metrics import StepMetrics, device_errors
from experiments.termination import Termination
from mmdf_jax import optim


def train(
    config: Mapping[str, Any],
    workdir: pathlib.Path,
    splits: Mapping[str, Source],
    termination: Termination,
    allow: Sequence[str] = (),
) -> dict[str, Any]:
    """Trains `config` on the records of `splits` until its last step or early stopping; resumes what is in `workdir`.

    Returns what the results table wants to know of the training: `best_step`, `train_minutes`, `parameters`,
    `peak_memory_gb`.

    Raises:
      NonFiniteError: training diverged; nothing non-finite was saved.
      DeviceError: the device failed, or has no memory left.
      Terminated: a signal came; the step is saved.
      ValueError, OSError: config, data or disk; one line says what to do.
    """
    # ---------------------------------------------------------------------------------------------- devices
    mesh = distributed.make_mesh()
    replicated = distributed.replicated(mesh)
    primary = distributed.is_primary()
    if primary:
        environment.log_and_compare(workdir)

    # ------------------------------------------------------------------------------------------------- data
    train_records, val_records = splits["train"], splits["val"]
    log.info("%d training clips, %d validation clips", len(train_records), len(val_records))

    # --------------------------------------------------------------------------------- model and optimizer
    options, steps = config["train"], config["train"]["steps"]
    model, task = model_from_config.make_model(config, allow), model_from_config.make_task(config, allow)
    init = functools.partial(model_from_config.init, model, config)
    init_key = jax.random.key(config["seed"])
    train_key = jax.random.key(config["seed"], impl="rbg")  # dropout by threefry takes as long to compile as the model
    abstract = jax.eval_shape(init, init_key)
    rates = model_from_config.learning_rates(config, model, abstract["params"])
    optimizer, learning_rate = optim.make(config["optimizer"], abstract["params"], steps, rates)

    def make_state(variables: Mapping[str, Any]) -> dict[str, Any]:
        state = {"step": jnp.zeros((), jnp.int32), **variables, "opt_state": optimizer.init(variables["params"])}
        return {**state, "ema": variables["params"]} if options["ema"] else state

    def eval_variables(state: Mapping[str, Any]) -> dict[str, Any]:
        return {"params": state.get("ema", state["params"]), "batch_stats": state["batch_stats"]}

    parameters = model_from_config.count_parameters(abstract["params"])
    log.info("%s: %.2f M parameters", config["model"]["name"], parameters / 1e6)
    if len(set(jax.tree.leaves(rates))) > 1:
        log.info("%s", model_from_config.what_trains(abstract["params"], rates))

    # ------------------------------------------------------------------------------------------- train step
    def micro_gradients(state: Mapping[str, Any], stats: Any, batch: Any, key: jax.Array) -> tuple[Any, Any, Any]:
        def loss_fn(params: Any) -> tuple[jax.Array, tuple[Any, Any]]:
            # What is frozen has no gradient, so that XLA drops its computation.
            params = jax.tree.map(lambda x, rate: x if rate else jax.lax.stop_gradient(x), params, rates)
            outputs, updated = model.apply(
                {"params": params, "batch_stats": stats},
                batch,
                train=True,
                rngs={"dropout": key},
                mutable=["batch_stats"],
            )
            loss, metrics = task.loss(outputs, batch)
            return loss, ({"loss": loss, **metrics}, updated.get("batch_stats", stats))

        gradients, (metrics, stats) = jax.grad(loss_fn, has_aux=True)(state["params"])
        return gradients, metrics, stats

    @functools.partial(jax.jit, donate_argnums=0, out_shardings=(replicated, replicated))
    def train_step(state: Any, batch: Any, key: jax.Array) -> tuple[Any, Any]:
        key = jax.random.fold_in(key, state["step"])
        if options["accumulate"] == 1:
            gradients, metrics, stats = micro_gradients(state, state["batch_stats"], batch, key)
        else:

            def body(stats: Any, inputs: Any) -> tuple[Any, Any]:
                gradients, metrics, stats = micro_gradients(state, stats, *inputs)
                return stats, (gradients, metrics)

            micro = distributed.micro_batches(batch, options["accumulate"])
            keys = jax.random.split(key, options["accumulate"])
            stats, summed = jax.lax.scan(body, state["batch_stats"], (micro, keys))
            gradients, metrics = jax.tree.map(lambda x: jnp.mean(x, axis=0), summed)

        updates, opt_state = optimizer.update(gradients, state["opt_state"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        new = {"step": state["step"] + 1, "params": params, "batch_stats": stats, "opt_state": opt_state}
        if options["ema"]:
            new["ema"] = optax.incremental_update(params, state["ema"], 1 - options["ema"])
        metrics |= {
            "grad_norm": optim.norm(gradients),
            "param_norm": optim.norm(params),
            "update_norm": optim.norm(updates),
            **{f"grad_norm/{name}": optim.norm(part) for name, part in gradients.items()},
        }
        # A norm is finite only if all of its numbers are.
        checked = [metrics["loss"], metrics["grad_norm"], metrics["param_norm"], optim.norm(stats)]
        metrics["finite"] = jnp.isfinite(jnp.stack(checked)).all()
        return jax.tree.map(
            lambda after, before: jnp.where(metrics["finite"], after, before), new, dict(state)
        ), metrics

    # ----------------------------------------------------------------------------------------------- resume
    saved = checkpoints.Checkpoints(workdir / "checkpoints", clean=True)
    abstract_state = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated),
        jax.eval_shape(make_state, abstract),
    )
    info = {"best": None, "best_step": 0, "since_best": 0, "seconds": 0.0, "window": {}}
    if (start := saved.step("latest")) is not None:
        state, info = saved.load("latest", abstract_state)
        log.info("resuming from step %d of %d", start, steps)
    else:
        start, variables = 0, model_from_config.init_state(init, init_key, replicated)
        if any(spec["source"] for spec in config["pretrained"].values()):
            loaded = model_from_config.load_pretrained(config, model, jax.device_get(variables))
            variables = distributed.put_replicated(loaded, mesh)
        state = model_from_config.init_state(make_state, variables, replicated)
        overview = parameter_overview.get_parameter_overview(jax.device_get(state["params"]), include_stats="global")
        log.debug("parameters\n%s", overview)

    if config["finetune"]["cache"]:
        # Not of the averaged parameters: averaging rounds what never changes, and a resumed run must find the same.
        cached = features.ensure(config, model, state, splits)
        train_records, val_records = cached["train"], cached["val"]

    # ------------------------------------------------------------------------------------------------- loop
    predict = scoring.make_predict(model, task, mesh)
    metrics_log = MetricsLog(workdir, start) if primary else None
    step_metrics = StepMetrics(
        info["window"],
        describe=lambda rows: ", ".join(train_records.index[i].clip.clip_id for i in rows),
        safe_step=lambda: saved.step("latest") or 0,
    )
    started, spent = time.perf_counter(), info["seconds"]
    window_started, window_step = started, start

    def write_metrics(step: int) -> None:
        nonlocal window_started, window_step
        seconds, examples = time.perf_counter() - window_started, (step - window_step) * config["data"]["batch_size"]
        means = step_metrics.take_means()
        if metrics_log:
            trained = {f"train/{name}": value for name, value in means.items()}
            speed = {"perf/examples_per_second": examples / seconds, "perf/memory_gb": environment.memory_gb()}
            metrics_log.write(step, {**trained, "train/learning_rate": float(learning_rate(step - 1)), **speed})
        bar.set_postfix_str(f"loss {means['loss']:.4f}", refresh=False)
        window_started, window_step = time.perf_counter(), step

    def checkpoint(step: int) -> None:
        step_metrics.look()
        if metrics_log:
            metrics_log.sync()
        # The metrics not yet logged go along, so that a resumed run logs the same means.
        info.update(window=dict(step_metrics.window), seconds=spent + time.perf_counter() - started)
        saved.save("latest", step, state, info)

    def evaluate(step: int) -> bool:
        """Scores the validation split; keeps the best; True when patience has run out."""
        nonlocal window_started
        entered = time.perf_counter()
        variables = eval_variables(state)
        scores = scoring.score(
            predict, variables, val_records, config, mesh, task, termination, title="validation", shown=primary
        )
        metrics = scoring.validate(task, scores.rows)
        value = metrics[options["select"]] * (1 if task.directions[options["select"]] == "max" else -1)
        improved = math.isfinite(value) and (info["best"] is None or value > info["best"])
        if improved or info["best"] is None:
            info.update(best=value if improved else None, best_step=step, since_best=0)
            saved.save("best", step, eval_variables(state), dict(info))
        else:
            info["since_best"] += 1
        if metrics_log:
            metrics_log.write(step, {f"val/{name}": number for name, number in metrics.items()})
        shown = ", ".join(f"{name} {number:.4f}" for name, number in metrics.items())
        log.info("step %d: validation %s%s", step, shown, " (best)" if improved else "")
        window_started += time.perf_counter() - entered
        return 0 < options["patience"] <= info["since_best"]

    train_key = distributed.put_key(train_key, mesh)
    with contextlib.ExitStack() as open_until_the_end:
        enter = open_until_the_end.enter_context
        enter(contextlib.closing(saved))
        enter(contextlib.closing(metrics_log) if metrics_log else contextlib.nullcontext())
        enter(device_errors(step_metrics.safe_step))
        enter(termination.postponed())
        # The order below is checkpoint, then evaluate: a resumed run owes this one.
        done = bool(start) and _due(start, options["eval_steps"], steps) and evaluate(start)
        last = start if done else steps
        if start < last:
            who = {"process_index": jax.process_index(), "process_count": jax.process_count()}
            batches = train_records.train_batches(config["data"], seed=config["seed"], start_step=start, **who)
            enter(contextlib.closing(batches))
            log.info("training to step %d; the first step compiles", steps)
        bar = enter(progress.bar(steps, "training", start=start, unit="step", keep=True, shown=primary))
        # The order is fixed: step, log the step before, checkpoint, evaluate. Resuming relies on it.
        for step in range(start + 1, last + 1):
            batch = next(batches)
            state, metrics = train_step(state, distributed.put_batch(batch, mesh), train_key)
            step_metrics.add(step, metrics, batch["clip_index"])
            stopping = termination.requested()
            if step % options["log_steps"] == 0:
                step_metrics.look()
                write_metrics(step)
            bar.update()
            if stopping or _due(step, options["checkpoint_steps"], steps) or _due(step, options["eval_steps"], steps):
                checkpoint(step)
            if stopping:
                log.info("step %d is saved", step)
                termination.end()
            if _due(step, options["eval_steps"], steps) and evaluate(step):
                log.info("no better validation %s for %d evaluations: stopping", options["select"], info["since_best"])
                break
    return {
        "best_step": info["best_step"],
        "train_minutes": (spent + time.perf_counter() - started) / 60,
        "parameters": parameters,
        "peak_memory_gb": environment.memory_gb(),
    }


def _due(step: int, every: int, last: int) -> bool:
    return step % every == 0 or step == last
