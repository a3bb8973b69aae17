"""From a training config to a compiled model: optimizer, loss, schedule, steps in one execution."""

import math
from typing import NamedTuple

import keras
import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from kerasbn import optimizers, schedules
from kerasbn.config import TrainingConfig
from kerasbn.losses import SoftmaxCrossEntropy, refuse_softmax

_MAX_STEPS = optimizers.PlannedOptimizer.LONGEST_PLAN  # in one execution; more saves nothing measurable
_COVERED = 0.9  # share of the examples that an epoch has at least
_LEFT_OUT = 0.02  # share of an epoch's steps that may be left out, so that whole executions remain
_SECONDS = 0.25  # that one execution may take: progress and Ctrl-C wait for it
_SCALED_FROM = 64  # examples in a batch that rates are meant for, where they are scaled
_EPSILON = 1e-8
_BETA_2 = 0.999
_MULTIPLICATIONS_PER_SECOND = 2e10  # forward and backward on two ordinary CPU cores


def schedule_of(config: TrainingConfig) -> schedules.Schedule:
    """Return the learning rate, as the config names it.

    Args:
        config: See `kerasbn.config.TrainingConfig`.

    Returns:
        The rate as a function of the epoch, from 0, or of the step, where `config.schedule_unit` says so.

    Example:
        >>> schedule_of(TrainingConfig(learning_rate=0.2, decay="inverse_time"))(1)
        0.1
    """
    schedule = config.schedule or _decay_of(config)
    if config.batch_scaling == "none":
        return schedule
    return schedules.scale(schedule, schedules.batch_size_factor(config.batch_size, _SCALED_FROM, config.batch_scaling))


def _decay_of(config: TrainingConfig) -> schedules.Schedule:
    a0, rate = config.learning_rate, config.decay_rate
    formulas = {
        "constant": schedules.Constant,
        "inverse_time": schedules.InverseTime,
        "exponential": schedules.Exponential,
        "inverse_sqrt": schedules.InverseSqrt,
    }
    formula = formulas[config.decay]
    return formula(a0) if rate is None else formula(a0, rate)


def optimizer_of(config: TrainingConfig) -> keras.optimizers.Optimizer:
    """Return the optimizer that the config names; weight decay leaves gamma, beta and biases alone.

    Args:
        config: See `kerasbn.config.TrainingConfig`.

    Returns:
        A new optimizer with the config's initial learning rate.

    Example:
        >>> optimizer_of(TrainingConfig(optimizer="adamw", weight_decay=0.01)).weight_decay
        0.01
    """
    rate, decay, beta = float(schedule_of(config)(0.0)), config.weight_decay or None, config.beta
    # The course's epsilon is 1e-8, Keras's 1e-7: where gradients are small, that is a part of the step.
    adaptive = {"weight_decay": decay, "epsilon": config.epsilon or _EPSILON}
    betas = {"beta_1": beta, "beta_2": _BETA_2 if config.beta_2 is None else config.beta_2}
    if config.optimizer in ("sgd", "momentum"):
        optimizer = optimizers.SGD(rate, momentum=beta, weight_decay=decay)
    elif config.optimizer == "rmsprop":
        optimizer = optimizers.RMSprop(rate, momentum=beta, **adaptive)
    elif config.optimizer == "adagrad":
        optimizer = optimizers.Adagrad(rate, **adaptive)
    elif config.optimizer == "adam":
        optimizer = optimizers.Adam(rate, **betas, **adaptive)
    else:
        # Keras's AdamW decays by 0.004 where it is not told; the config's default is none.
        optimizer = optimizers.AdamW(rate, **betas, **{**adaptive, "weight_decay": config.weight_decay})
    if config.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return optimizer


class EpochPlan(NamedTuple):
    """How an epoch is cut.

    Args:
        batch_size: Examples in a step.
        steps: Steps in an epoch.
        in_one: Steps in one call of TensorFlow; divides `steps`.
    """

    batch_size: int
    steps: int
    in_one: int


def plan_epoch(model: keras.Model, examples: int, batch_size: int) -> EpochPlan:
    """Return batches that cover nearly all examples, and how many of them to run in one call of TensorFlow.

    A call costs about 2 ms whatever the model: small models take many steps in one, large ones one. The cost of
    a step is estimated by its multiplications: kernel size times output positions, forward and twice backward.

    Args:
        model: Features to logits.
        examples: Number of training examples, at least 1.
        batch_size: Examples in a batch, as wished. It gets smaller where whole batches of that size would leave
            out more than a tenth of a small set.

    Returns:
        The plan. What an epoch leaves out are other examples in each: the incomplete batch, and at most 2% of
        the steps, so that all calls have equally many.
    """
    steps = examples // batch_size
    if steps * batch_size < _COVERED * examples:
        batch_size = max(2, examples // -(-examples // batch_size))  # one alone has no variance
        steps = examples // batch_size
    multiplications = 0.0
    for layer in model.layers:
        positions = math.prod(side or 1 for side in layer.output.shape[1:-1])
        multiplications += sum(math.prod(w.shape) for w in layer.trainable_weights) * positions
    seconds = 3 * multiplications * batch_size / _MULTIPLICATIONS_PER_SECOND
    most = int(min(_MAX_STEPS, steps, max(1, _SECONDS / max(seconds, 1e-9))))
    in_one = next(n for n in range(most, 0, -1) if steps % n <= _LEFT_OUT * steps)
    return EpochPlan(batch_size, steps // in_one * in_one, in_one)


def balanced_class_weight(labels: np.ndarray) -> list[float]:
    """Return n / (k n_c) for each of the k classes c, so that each counts the same in the loss.

    Args:
        labels: (n,) positions of classes, each at least once.

    Returns:
        A weight a class.
    """
    return compute_class_weight("balanced", classes=np.unique(labels), y=labels).tolist()


def compile_model(model: keras.Model, config: TrainingConfig, labels: np.ndarray) -> keras.Model:
    """Compile a model that returns logits, as the config says.

    Args:
        model: Features to logits.
        config: See `kerasbn.config.TrainingConfig`.
        labels: (n,) labels of the training examples: their number and balance count.

    Returns:
        The model, compiled.

    Raises:
        InputError: If the model's output went through a softmax, which the loss has.

    Example:
        >>> labels = np.array([0, 1, 2, 2], np.int32)
        >>> compile_model(create_model("mlp", (4,), 3), TrainingConfig(), labels).compiled
        True
    """
    refuse_softmax(model)
    class_weight = balanced_class_weight(labels) if config.class_weight else None
    model.compile(
        optimizer=optimizer_of(config),
        loss=SoftmaxCrossEntropy(label_smoothing=config.label_smoothing, class_weight=class_weight),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        steps_per_execution=plan_epoch(model, len(labels), config.batch_size).in_one,
        jit_compile=False,  # on a CPU XLA makes these models slower, and compiles for seconds
    )
    return model
