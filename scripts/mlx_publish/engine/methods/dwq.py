"""DWQ as in `mlx_lm.quant.dwq`: learn scales and biases by the predictions of the source; an interrupted run goes on.

The loss, the optimizer and what is learned are mlx-lm's. The loop is ours: its own cannot be interrupted, and saves a
result that is worse than its beginning.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn, optimizers
from mlx.utils import tree_flatten, tree_map

from mlx_publish import __version__
from mlx_publish.engine.methods import Quantized, quantize
from mlx_publish.engine.methods._lesson import Lesson, Samples, Taught, wide
from mlx_publish.engine.methods._state import State, restored, saved
from mlx_publish.engine.methods._unpacked import unpacking
from mlx_publish.engine.rounding import Precision
from mlx_publish.engine.rows import INTEGERS, bits_of
from mlx_publish.engine.weighted import quantize_rows, weights_of
from mlx_publish.errors import Refused
from mlx_publish.evidence.conversion import VariantOrder
from mlx_publish.machine.packages import versions
from mlx_publish.text.progress import Step

_TEMPERATURE = 2.0
"""By which logits are divided before they are compared, as in mlx-lm."""
JUDGES = True
"""Whether it keeps some text apart to judge itself by."""
Params = dict[str, Any]


def learn(model: nn.Module, config: dict[str, Any], lesson: Lesson) -> Taught:
    """Quantize a copy of the model and let it learn. Raises `Refused` where there is nothing to learn."""
    order = lesson.order
    student, config, kept, _ = _student(model, config, order)
    trained = [module for _, module in student.named_modules() if _learns(module)]
    if not trained:
        raise Refused(
            f"{order.label} has no module of fewer than 8 bits, whose scales dwq could learn",
            check="converts",
            remedy="Take fewer bits.",
        )
    student.freeze()
    for module in trained:
        module.unfreeze(keys=["scales", "biases"], recurse=False)
    training = _Training(model, student, lesson)
    with unpacking(student):
        state = training.run()
        after = training.validate(state.params)
    if not math.isfinite(after):
        raise Refused(
            f"the loss is no number any more after {training.steps} steps",
            check="converts",
            remedy="Use a smaller learning_rate, or plain rounding.",
        )
    student.eval()
    learned = lesson.learned(steps=training.steps, before=state.before, after=after, resumed=training.resumed)
    return Taught(student, config, kept, learned)


def _student(model: nn.Module, config: dict[str, Any], order: VariantOrder) -> Quantized:
    """Return the quantized model as it is without learning."""
    method = "plan" if order.plan else "rtn"
    student = copy.deepcopy(model)  # of modules; arrays are shared
    stream = mx.default_stream(mx.default_device())
    made = quantize(student, config, VariantOrder(**{**vars(order), "method": method}), itertools.repeat(stream))
    mx.eval(made.model.parameters())
    weights = dict(tree_flatten(model.parameters()))
    for path, module in made.model.named_modules():
        if path in made.importance:
            _weigh(module, weights[f"{path}.weight"], made.importance[path])
    return made


def _weigh(module: Any, weight: mx.array, importance: str) -> None:
    """Choose the scales of a quantized module by importance, as a plan without learning does."""
    rows = bits_of(weight).reshape(-1, weight.shape[-1]).view(INTEGERS[weight.dtype.size])
    precision = Precision(module.group_size, module.bits, module.mode)
    parts = quantize_rows(rows, weight.dtype, precision, weights_of(importance))
    for name, part in zip(("weight", "scales", "biases"), parts, strict=True):
        before = module[name]
        module[name] = mx.array(part).view(before.dtype).reshape(before.shape)


def _learns(module: Any) -> bool:
    return "scales" in module and getattr(module, "mode", "") == "affine" and module.bits < 8


@dataclass
class _Training:
    teacher: nn.Module
    student: nn.Module
    lesson: Lesson
    resumed: int = 0
    steps: int = 0

    def __post_init__(self) -> None:
        if not self.lesson.samples or not self.lesson.apart:
            raise Refused(
                "the calibration text is too short for dwq, which learns from some documents and is judged by others",
                check="converts",
                remedy="Use a longer text of several documents, or set a smaller length below calibration.",
            )
        self._stored = tree_map(lambda array: array.dtype, self.student.trainable_parameters())

    def run(self) -> State:
        """Take all steps, those of an interrupted run among them, and leave the student with what was learned."""
        inputs = self._inputs()  # of what is stored, before it is cast
        params = tree_map(lambda array: array.astype(mx.float32), self.student.trainable_parameters())
        wide(self.teacher)
        wide(self.student)
        self.student.train()
        optimizer = optimizers.Adam(learning_rate=self.lesson.settings["learning_rate"], bias_correction=True)
        optimizer.init(params)
        path, tell = self.lesson.order.state, self.lesson.tell
        state = restored(path, inputs) or State(0, self.validate(params), params, optimizer.state)
        if not math.isfinite(state.before):
            raise Refused(
                "the source computes no numbers on the calibration text, or its rounded form does not",
                check="converts",
                remedy="Check the source's weights for values that overflow, or use plain rounding.",
            )
        optimizer.state, self.resumed = state.optimizer, state.step
        batches = list(self._batches())
        self.steps = len(batches)
        keep = saved(path, inputs)
        for step in range(state.step, self.steps):
            tell(Step(f"learning {self.lesson.order.label}", step, self.steps, "steps"))
            params = self._step(state.params, batches[step], optimizer)
            state = State(step + 1, state.before, params, optimizer.state)
            keep(state)
        self._put(state.params)
        return state

    def validate(self, params: Params) -> float:
        """Return the mean loss on the samples that are held back, in nats."""
        total, count = 0.0, 0
        for batch in self._cut(self.lesson.apart):
            loss, tokens = self._loss(params, *batch, self._targets(batch[0]))
            here = int(tokens)
            total += float(loss) * here
            count += here
        return total / count

    def _step(self, params: Params, batch: tuple[mx.array, mx.array], optimizer: Any) -> Params:
        targets = self._targets(batch[0])
        (loss, _), gradients = mx.value_and_grad(self._loss)(params, *batch, targets)
        params = optimizer.apply_gradients(gradients, params)
        mx.eval(loss, params, optimizer.state)
        return params

    def _loss(self, params: Params, ids: mx.array, mask: mx.array, targets: mx.array) -> tuple[mx.array, mx.array]:
        from mlx_lm.tuner.losses import kl_div_loss  # noqa: PLC0415  it makes kernels for the device that it finds

        self._put(params)
        scale = 1 / _TEMPERATURE
        losses = kl_div_loss(scale * self.student(ids), scale * targets)
        tokens = mask.sum()
        return (mask * losses).sum() / tokens, tokens

    def _targets(self, ids: mx.array) -> mx.array:
        targets = mx.stop_gradient(self.teacher(ids))
        mx.eval(targets)
        return targets

    def _put(self, params: Params) -> None:
        """Give the student what it would have if it were written now: rounded to the type in which it is stored."""
        computed = self.student.trainable_parameters()
        self.student.update(
            tree_map(lambda array, stored, now: array.astype(stored).astype(now.dtype), params, self._stored, computed)
        )

    def _batches(self) -> Iterator[tuple[mx.array, mx.array]]:
        """Yield ids and mask of each step; every pass has an order of its own."""
        for number in range(int(self.lesson.settings["passes"])):
            order = np.random.default_rng(number + 1).permutation(len(self.lesson.samples))
            yield from self._cut([self.lesson.samples[at] for at in order])

    def _cut(self, samples: Samples) -> Iterator[tuple[mx.array, mx.array]]:
        size = int(self.lesson.settings["batch_size"])
        for first in range(0, len(samples), size):
            part = samples[first : first + size]
            ids = np.zeros((len(part), max(map(len, part))), np.int32)
            mask = np.zeros(ids.shape, np.bool_)
            for row, sample in enumerate(part):
                ids[row, : len(sample)], mask[row, : len(sample)] = sample, True
            yield mx.array(ids), mx.array(mask)

    def _inputs(self) -> str:
        """Return a digest of all that the result depends on; the source shows in its quantized form."""
        digest = hashlib.sha256()
        for path, array in tree_flatten(self.student.parameters()):
            if path.endswith((".scales", ".biases")):
                digest.update(f"{path} {array.dtype} {array.shape}".encode())
                digest.update(np.array(array.astype(mx.float32)).tobytes())
        told = [dict(self.lesson.settings), self.lesson.samples, self.lesson.apart]
        tools = [__version__, versions("mlx", "mlx-lm"), str(mx.default_device())]
        digest.update(json.dumps([*told, *tools]).encode())
        return digest.hexdigest()
