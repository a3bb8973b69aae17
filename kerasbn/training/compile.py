"""From a training config to a compiled model: optimizer, loss, schedule, steps in one execution."""

import keras
import numpy as np

from kerasbn import schedules
from kerasbn.config import TrainingConfig
from kerasbn.losses import SoftmaxCrossEntropy

_MAX_STEPS = 64  # in one execution; more saves nothing measurable
_LEFT_OUT = 0.02  # share of an epoch's steps that may be left out, so that whole executions remain
_SECONDS = 0.25  # that one execution may take: progress and Ctrl-C wait for it
_MULTIPLICATIONS_PER_SECOND = 2e10  # forward and backward on two ordinary CPU cores


def schedule_of(config: TrainingConfig) -> schedules.Schedule:
    """Return the learning rate by epoch, as the config names it."""
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
    """Return the optimizer that the config names; weight decay leaves gamma, beta and biases alone."""
    rate, decay = config.learning_rate, config.weight_decay or None
    if config.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(rate, momentum=config.momentum, nesterov=False, weight_decay=decay)
    elif config.optimizer == "rmsprop":
        optimizer = keras.optimizers.RMSprop(rate, momentum=config.momentum, weight_decay=decay)
    elif config.optimizer == "adam":
        optimizer = keras.optimizers.Adam(rate, beta_1=config.momentum, weight_decay=decay)
    else:
        # Keras's AdamW decays by 0.004 where it is not told; the config's default is none.
        optimizer = keras.optimizers.AdamW(rate, beta_1=config.momentum, weight_decay=config.weight_decay)
    if config.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return optimizer


def steps_per_execution(model: keras.Model, steps: int, batch_size: int) -> int:
    """Return how many training steps to run in one call of TensorFlow.

    A call costs about 2 ms whatever the model: small models take many steps in one, large ones one. The cost of
    a step is estimated by its multiplications: kernel size times output positions, forward and twice backward.

    Args:
        model: The model that is trained; built.
        steps: Batches in an epoch, at least 1.
        batch_size: Examples in a batch.

    Returns:
        At least 1 and at most `steps`; `steps // result * result` is within 2% of `steps`.
    """
    multiplications = 0.0
    for layer in model.layers:
        positions = float(np.prod([side or 1 for side in layer.output.shape[1:-1]]))
        multiplications += sum(float(np.prod(w.shape)) for w in layer.trainable_weights) * positions
    seconds = 3 * multiplications * batch_size / _MULTIPLICATIONS_PER_SECOND
    most = int(min(_MAX_STEPS, max(1, _SECONDS / max(seconds, 1e-9))))
    fitting = (n for n in range(min(most, steps), 0, -1) if steps % n <= _LEFT_OUT * steps)
    return next(fitting)


def compile_model(
    model: keras.Model, config: TrainingConfig, class_weight: list[float] | None = None, steps: int = 1
) -> keras.Model:
    """Compile a model that returns logits, as the config says.

    Args:
        model: Features to logits.
        config: See `kerasbn.config.TrainingConfig`.
        class_weight: Weight of each class in the loss; None: all 1.
        steps: Training steps in one call of TensorFlow; see `steps_per_execution`.

    Returns:
        The model, compiled.
    """
    model.compile(
        optimizer=optimizer_of(config),
        loss=SoftmaxCrossEntropy(label_smoothing=config.label_smoothing, class_weight=class_weight),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        steps_per_execution=steps,
        jit_compile=False,  # on a CPU XLA makes these models slower, and compiles for seconds
    )
    return model
