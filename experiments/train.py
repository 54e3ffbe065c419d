"""THE training loop: mesh, data, model and optimizer, step, resume, loop. Read it top to bottom."""

import collections
import contextlib
import functools
import math
import pathlib
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from clu import parameter_overview
from tqdm import tqdm

from data_pipelines.loading import loader
from data_pipelines.prepare.records import Records
from experiments import checkpoints, distributed, environment, features, model_from_config
from experiments.evaluators import scoring
from experiments.metrics_log import MetricsLog
from experiments.run_directory import log
from experiments.score_table import ScoreRow, judged_by
from experiments.termination import Termination
from mmdf_jax import optim
from mmdf_jax.metrics import classification


class NonFiniteError(ValueError):
    """The loss, a gradient or an updated parameter is NaN or infinite."""


def train(
    config: Mapping[str, Any], workdir: pathlib.Path, splits: Mapping[str, Records], allow: Sequence[str] = ()
) -> dict[str, Any]:
    """Trains `config` on the records of `splits` until its last step or early stopping; resumes what is in `workdir`.

    Returns what the results table wants to know of the training: `best_step`, `best_accuracy`, `train_minutes`,
    `parameters`, `peak_memory_gb`.

    Raises:
      NonFiniteError: training diverged; nothing non-finite was saved.
      ValueError, OSError: config, data or disk; one line says what to do.
    """
    # ---------------------------------------------------------------------------------------------- devices
    mesh = distributed.make_mesh()
    replicated = distributed.replicated(mesh)
    primary = distributed.is_primary()
    if primary:
        environment.settle(workdir)

    # ------------------------------------------------------------------------------------------------- data
    train_records, val_records = splits["train"], splits["val"]
    log.info("%d training clips, %d validation clips", len(train_records), len(val_records))

    # --------------------------------------------------------------------------------- model and optimizer
    options, steps = config["train"], config["train"]["steps"]
    model, task = model_from_config.make_model(config, allow), model_from_config.make_task(config, allow)
    init_key, train_key = jax.random.split(jax.random.key(config["seed"]))
    abstract = jax.eval_shape(functools.partial(model_from_config.init, model, config), init_key)
    rates = model_from_config.learning_rates(config, abstract["params"])
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
            n = options["accumulate"]
            # Every n-th row, so that each device's rows fall evenly into the micro-batches and none has to travel.
            micro = jax.tree.map(lambda x: jnp.moveaxis(x.reshape(-1, n, *x.shape[1:]), 1, 0), batch)

            def body(stats: Any, inputs: Any) -> tuple[Any, Any]:
                gradients, metrics, stats = micro_gradients(state, stats, *inputs)
                return stats, (gradients, metrics)

            stats, summed = jax.lax.scan(body, state["batch_stats"], (micro, jax.random.split(key, n)))
            gradients, metrics = jax.tree.map(lambda x: jnp.mean(x, axis=0), summed)

        updates, opt_state = optimizer.update(gradients, state["opt_state"], state["params"])
        new = {
            "step": state["step"] + 1,
            "params": optax.apply_updates(state["params"], updates),
            "batch_stats": stats,
            "opt_state": opt_state,
        }
        if options["ema"]:
            new["ema"] = optax.incremental_update(new["params"], state["ema"], 1 - options["ema"])
        gradient, parameter = optim.pack(gradients), optim.pack(new["params"])
        checked = [metrics["loss"], *gradient, *parameter, *optim.pack(stats)]
        finite = jnp.stack([jnp.isfinite(x).all() for x in checked]).all()
        new = jax.tree.map(lambda after, before: jnp.where(finite, after, before), new, dict(state))
        metrics |= {
            "finite": finite,
            "grad_norm": optax.global_norm(gradient),
            "param_norm": optax.global_norm(parameter),
            "update_norm": optax.global_norm(optim.pack(updates)),
            **{f"grad_norm/{name}": optax.global_norm(optim.pack(part)) for name, part in gradients.items()},
        }
        return new, metrics

    # ----------------------------------------------------------------------------------------------- resume
    saved = checkpoints.Checkpoints(workdir / "checkpoints", clean=True)
    abstract_state = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated),
        jax.eval_shape(make_state, abstract),
    )
    info = {"best": None, "best_step": 0, "best_accuracy": math.nan, "since_best": 0, "seconds": 0.0, "window": {}}
    if (start := saved.step("latest")) is not None:
        state, info = saved.load("latest", abstract_state)
        log.info("resuming from step %d of %d", start, steps)
    else:
        start, variables = (
            0,
            model_from_config.init_state(
                functools.partial(model_from_config.init, model, config), init_key, replicated
            ),
        )
        if any(spec["source"] for spec in config["pretrained"].values()):
            variables = distributed.put_replicated(
                model_from_config.load_pretrained(config, model, jax.device_get(variables)), mesh
            )
        state = model_from_config.init_state(make_state, variables, replicated)
        overview = parameter_overview.get_parameter_overview(jax.device_get(state["params"]), include_stats="global")
        log.debug("parameters\n%s", overview)

    make_batches = functools.partial(loader.train_batches, train_records)
    if config["finetune"]["cache"]:
        # Not of the averaged parameters: averaging rounds what never changes, and a resumed run must find the same.
        cached = features.ensure(config, model, state, splits)
        val_records, make_batches = cached["val"], cached["train"].train_batches

    # ------------------------------------------------------------------------------------------------- loop
    predict = scoring.make_predict(model, task, mesh)
    metrics_log = MetricsLog(workdir, start) if primary else None
    batches = None
    pending = None  # the step before, dispatched and not yet looked at, so that the device never waits for the host
    window: dict[str, list[float]] = collections.defaultdict(list, info["window"])
    started, spent = time.perf_counter(), info["seconds"]
    window_started, window_step = started, start

    def look_at_pending() -> None:
        nonlocal pending
        if pending is None:
            return
        step, metrics, clip_index = pending
        pending = None
        metrics = jax.device_get(metrics)
        if not metrics.pop("finite"):
            clips = ", ".join(train_records.index[i].clip.clip_id for i in clip_index)
            raise NonFiniteError(
                f"step {step}: the loss ({metrics['loss']:.4g}) or a gradient (norm {metrics['grad_norm']:.4g}) is not "
                f"finite; the update was not applied. Clips of this process: {clips}. Step {saved.step('latest') or 0} "
                "is the last saved one; lower config.optimizer.learning_rate, or look at these clips"
            )
        for name, value in metrics.items():
            window[name].append(float(value))

    def write_metrics(step: int) -> None:
        nonlocal window_started, window_step
        seconds, examples = time.perf_counter() - window_started, (step - window_step) * config["data"]["batch_size"]
        if metrics_log and window:
            metrics_log.write(
                step,
                {
                    **{f"train/{name}": float(np.mean(values)) for name, values in window.items()},
                    "train/learning_rate": float(learning_rate(step - 1)),
                    "perf/examples_per_second": examples / seconds,
                    "perf/memory_gb": _memory_gb(),
                },
            )
        window.clear()
        window_started, window_step = time.perf_counter(), step

    def checkpoint(step: int) -> None:
        look_at_pending()
        if metrics_log:
            metrics_log.sync()
        # The metrics not yet logged go along, so that a resumed run logs the same means.
        info.update(window=dict(window), seconds=spent + time.perf_counter() - started)
        saved.save("latest", step, state, info)

    def evaluate(step: int) -> bool:
        """Scores the validation split; keeps the best; True when patience has run out."""
        nonlocal window_started
        entered = time.perf_counter()
        scores = scoring.score(
            predict, eval_variables(state), val_records, config, mesh, title="validation", progress=primary
        )
        metrics = _validation_metrics(judged_by(scores.rows, config["task"]["target"]))
        value = -metrics["loss"] if options["select"] == "loss" else metrics[options["select"]]
        improved = math.isfinite(value) and (info["best"] is None or value > info["best"])
        if improved or info["best"] is None:
            info.update(
                best=value if improved else None, best_step=step, best_accuracy=metrics["accuracy"], since_best=0
            )
            saved.save("best", step, eval_variables(state), dict(info))
        else:
            info["since_best"] += 1
        if metrics_log:
            metrics_log.write(step, {f"val/{name}": number for name, number in metrics.items()})
        log.info(
            "step %d: validation loss %.4f, AUC %.3f, accuracy %.3f%s",
            *(step, metrics["loss"], metrics["auc"], metrics["accuracy"], " (best)" if improved else ""),
        )
        window_started += time.perf_counter() - entered
        return 0 < options["patience"] <= info["since_best"]

    done = False
    if start and _due(start, options["eval_steps"], steps):
        done = evaluate(start)  # the order below is checkpoint, then evaluate: a resumed run owes this one
    if not done and start < steps:
        batches = make_batches(
            config["data"],
            seed=config["seed"],
            start_step=start,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        log.info("training to step %d; the first step compiles", steps)
    train_key = distributed.put_key(train_key, mesh)
    bar = tqdm(total=steps, initial=start, desc="training", unit="step", disable=not primary, **_bar_style())
    with Termination() as termination, bar, contextlib.closing(saved):
        # The order is fixed: step, log the step before, checkpoint, evaluate. Resuming relies on it.
        for step in range(start + 1, steps + 1) if batches is not None else ():
            batch = next(batches)
            state, metrics = train_step(state, distributed.put_batch(batch, mesh), train_key)
            look_at_pending()
            pending = (step, metrics, batch["clip_index"])
            stopping = termination.requested(step)
            if step % options["log_steps"] == 0:
                look_at_pending()
                bar.set_postfix_str(f"loss {np.mean(window['loss']):.4f}", refresh=False)
                write_metrics(step)
            bar.update()
            if stopping or _due(step, options["checkpoint_steps"], steps) or _due(step, options["eval_steps"], steps):
                checkpoint(step)
            if stopping:
                log.info("terminated: step %d is saved; the same command goes on from there", step)
                sys.exit(128 + termination.signal)
            if _due(step, options["eval_steps"], steps) and evaluate(step):
                log.info("no better validation %s for %d evaluations: stopping", options["select"], info["since_best"])
                break
    if metrics_log:
        metrics_log.close()
    return {
        "best_step": info["best_step"],
        "best_accuracy": info["best_accuracy"],
        "train_minutes": (spent + time.perf_counter() - started) / 60,
        "parameters": parameters,
        "peak_memory_gb": _memory_gb(),
    }


def _due(step: int, every: int, last: int) -> bool:
    return step % every == 0 or step == last


def _validation_metrics(rows: Sequence[ScoreRow]) -> dict[str, float]:
    """Loss (nats), AUC and accuracy at 0.5 over the clips that have a score."""
    scored = [row for row in rows if row.scored]
    if not scored:
        raise ValueError("the validation split has no clip that could be scored; see prepare_report.csv")
    labels = np.array([row.label for row in scored])
    scores = np.array([row.score for row in scored])
    safe = np.clip(scores, 1e-7, 1 - 1e-7)
    return {
        "loss": float(-np.mean(np.where(labels == 1, np.log(safe), np.log1p(-safe)))),
        "auc": classification.auc(labels, scores),
        "accuracy": float(np.mean((scores > 0.5) == (labels == 1))),
    }


def _memory_gb() -> float:
    """Peak memory of the first device in GB; on a CPU, of this process."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"] / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _bar_style() -> dict[str, Any]:
    """A live bar on a terminal; a line now and then in a log file."""
    return {} if sys.stderr.isatty() else {"mininterval": 15}
