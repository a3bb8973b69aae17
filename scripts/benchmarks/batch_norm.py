"""Time BatchNormalization against Keras's layer and the raw fused operation, and compare the memory a step takes.

python scripts/benchmarks/batch_norm.py [--seconds 2] [--layers 8] [--json FILE]

A call computes a stack of eight such layers, forward and backward with the update of the moving statistics, and times
are those of one of them: with a single small layer the 0.2 ms that calling a function takes would be most of the time.
Inference is measured both ways. Under XLA a call computes one layer: it would mix layers that have nothing between them
into one another, as it cannot where there is a convolution or a matrix product between them.
"""

import argparse
import functools
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

from kerasbn.layers import BatchNormalization
from kerasbn.losses import SoftmaxCrossEntropy
from kerasbn.models import create_model
from kerasbn.training.environment import environment

SHAPES = ((64, 32, 32, 64), (128, 32, 32, 16), (32, 56, 56, 64), (4096, 256), (256, 512))
PLAIN = SHAPES[0]
KERAS = keras.layers.BatchNormalization
Step = Callable[[], Any]
AIMS = (  # group, peer, and what its times over kerasbn's should be at least: the geometric mean, and each
    ("training, graph", "keras", 2.5, 1.6),
    ("training, graph", "raw fused op", 0.9, 0.9),
    ("training, XLA", "keras", 1.3, 1.0),
    ("inference, graph", "keras", 1.3, 0.95),
    ("inference, one a call", "keras", 1.3, 0.95),
    ("training, masked", "keras", 1.0, 1.0),
    ("training, ghosts of 16", "from scratch, whole batch", 0.8, 0.8),
    ("ResNet-20 step", "keras", 1.3, 1.3),
    ("ResNet-20 step", "no BN", 0.95, 0.95),
    ("peak memory of a step", "keras", 1.0, 1.0),
)


class RawFused(keras.layers.Layer):
    """The fused operation and an update of the moving statistics by its (Bessel-corrected) variance, and no more."""

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Create the weights that BatchNormalization has."""
        for name, initial, trainable in (("gamma", 1, True), ("beta", 0, True), ("mean", 0, False), ("var", 1, False)):
            value = keras.initializers.Constant(initial)
            setattr(self, name, self.add_weight(shape=shape[-1:], name=name, initializer=value, trainable=trainable))

    def call(self, inputs: tf.Tensor, training: bool = False, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Normalise, as BatchNormalization does."""
        images = inputs if len(inputs.shape) == 4 else tf.reshape(inputs, [-1, 1, 1, inputs.shape[-1]])
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=images,
            scale=self.gamma.value,
            offset=self.beta.value,
            mean=[] if training else self.mean.value,
            variance=[] if training else self.var.value,
            epsilon=1e-3,
            is_training=training,
        )
        if training:
            self.mean.assign(self.mean * 0.99 + mean * 0.01)
            self.var.assign(self.var * 0.99 + variance * 0.01)
        return y if images is inputs else tf.reshape(y, inputs.shape)


class NoNormalization(keras.layers.Layer):
    """What stands where a normalization was."""

    def call(self, inputs: tf.Tensor, training: bool = False, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Return the inputs."""
        return inputs


def stack(
    make: Callable[[], keras.layers.Layer],
    shape: tuple[int, ...],
    layers: int,
    *,
    training: bool = True,
    xla: bool = False,
    dtype: str = "float32",
    mask: tf.Tensor | None = None,
) -> Step:
    """Return a function that runs a stack of layers once: forward, and in training backward."""
    made = [make() for _ in range(layers)]
    for layer in made:
        layer.build(shape)
    x, dy = (tf.cast(tf.random.stateless_normal(shape, [seed, 0]), dtype) for seed in (1, 2))
    arguments = {} if mask is None else {"mask": mask}

    def forward(x: tf.Tensor) -> tf.Tensor:
        for layer in made:
            x = layer(x, training=training, **arguments)
        return x

    @tf.function(jit_compile=xla)
    def step(x: tf.Tensor, dy: tf.Tensor) -> Any:
        if not training:
            return forward(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = forward(x)
        weights = [weight.value for layer in made for weight in layer.trainable_variables]
        return tape.gradient(y, [x, *weights], dy)

    return lambda: step(x, dy)


def resnet(kind: str) -> Step:
    """Return a training step of ResNet-20 on 128 images, with its normalization, another, or biases instead."""

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if isinstance(layer, BatchNormalization) and kind != "kerasbn":
            if kind == "keras":
                return KERAS.from_config(config)
            return (RawFused if kind == "raw fused op" else NoNormalization)(name=layer.name)
        if kind == "no BN" and "use_bias" in config:
            config["use_bias"] = True
        return type(layer).from_config(config)

    model = keras.models.clone_model(create_model("resnet", (32, 32, 3), 10, depth=20), clone_function=clone)
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    optimizer.build(model.trainable_variables)
    loss = SoftmaxCrossEntropy()
    images = tf.random.stateless_normal((128, 32, 32, 3), [1, 2])
    labels = tf.random.stateless_uniform((128,), [3, 4], 0, 10, tf.int32)

    @tf.function
    def step(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            value = loss(labels, model(images, training=True))
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(value, [variable.value for variable in variables]), variables)
        return value

    return lambda: step(images, labels)


def measure(steps: dict[str, Step], seconds: float, calls: int = 1) -> dict[str, float]:
    """Run each step by turns for `seconds` together, and return the median milliseconds of each."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        for _ in range(3):
            step()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[next(iter(times))]) < 7:
        for name, step in steps.items():
            begun = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - begun)
    return {name: 1e3 * statistics.median(values) / calls for name, values in times.items()}


def peak_memory(kind: str, layers: int) -> float:
    """Return by how many MiB a few training steps of a stack raise the peak memory of a fresh process."""
    command = [sys.executable, __file__, "--peak", kind, "--layers", str(layers)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def show_peak(kind: str, layers: int) -> None:
    """Print what `peak_memory` asks a fresh process for."""

    def peak() -> float:
        # Linux only. `getrusage` would count what the parent process had when it forked.
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 2**10

    layer = KERAS if kind == "keras" else BatchNormalization
    stack(layer, (2, 4, 4, 64), 1)()  # what is loaded once for all
    before = peak()
    step = stack(layer, PLAIN, layers)
    for _ in range(5):
        step()
    print(peak() - before)


def tracing(kind: type[keras.layers.Layer], layers: int) -> float:
    """Return the milliseconds that it takes to trace and first run a training step, for each layer."""
    step = stack(kind, (8, 32, 32, 64), layers)
    begun = time.perf_counter()
    step()
    return 1e3 * (time.perf_counter() - begun) / layers


def main() -> None:
    """Measure, print a table, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each row")
    parser.add_argument("--layers", type=int, default=8, help="in a stack")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak", choices=("keras", "kerasbn"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    layers = arguments.layers
    if arguments.peak:
        show_peak(arguments.peak, layers)
        return
    rows: list[dict[str, Any]] = []

    def row(group: str, what: str, peers: dict[str, float], unit: str = "ms") -> None:
        ours = peers["kerasbn"]
        rows.append({"group": group, "what": what, "unit": unit, **peers})
        others = "".join(
            f"  {name} {value:8.3f} ({value / ours:.2f})" for name, value in peers.items() if name != "kerasbn"
        )
        print(f"{group:<22} {what:<26} kerasbn {ours:8.3f} {unit}{others}", flush=True)

    def times(group: str, what: str, steps: dict[str, Step], calls: int = layers) -> None:
        row(group, what, measure(steps, arguments.seconds, calls))

    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}; in brackets: how many times as long as kerasbn")
    for shape in SHAPES:
        kinds = {"kerasbn": BatchNormalization, "keras": KERAS, "raw fused op": RawFused}
        times("training, graph", str(shape), {name: stack(kind, shape, layers) for name, kind in kinds.items()})
    two = {"kerasbn": BatchNormalization, "keras": KERAS}
    for shape in SHAPES:
        times("training, XLA", str(shape), {name: stack(kind, shape, 1, xla=True) for name, kind in two.items()}, 1)
    for group, number in (("inference, graph", layers), ("inference, one a call", 1)):
        for shape in SHAPES:
            steps = {name: stack(kind, shape, number, training=False) for name, kind in two.items()}
            times(group, str(shape), steps, number)
    for dtype in ("float16", "bfloat16"):
        steps = {
            name: stack(functools.partial(kind, dtype=f"mixed_{dtype}"), PLAIN, layers, dtype=dtype)
            for name, kind in two.items()
        }
        times(f"training, {dtype}", str(PLAIN), steps)
    mask = tf.random.stateless_uniform((64, 128), [5, 6]) < 0.7
    steps = {name: stack(kind, (64, 128, 64), layers, mask=mask) for name, kind in two.items()}
    steps["from scratch, no mask"] = stack(lambda: BatchNormalization(kernel="scratch"), (64, 128, 64), layers)
    times("training, masked", "(64, 128, 64)", steps)
    steps = {
        "kerasbn": stack(lambda: BatchNormalization(virtual_batch_size=16), PLAIN, layers),
        "from scratch, whole batch": stack(lambda: BatchNormalization(kernel="scratch"), PLAIN, layers),
        "keras": stack(KERAS, PLAIN, layers),
    }
    times("training, ghosts of 16", str(PLAIN), steps)
    steps = {name: resnet(name) for name in ("kerasbn", "keras", "raw fused op", "no BN")}
    row("ResNet-20 step", "128 images of 32x32x3", measure(steps, 10 * arguments.seconds))
    peaks = {name: peak_memory(name, layers) for name in ("kerasbn", "keras")}
    row("peak memory of a step", f"{layers} layers of {PLAIN}", peaks, "MiB")
    row("tracing", "a layer", {name: tracing(kind, layers) for name, kind in two.items()})

    print("\nhow many times as long as kerasbn: geometric mean, least (what is aimed at)")
    ratios = {}
    for group, peer, *aims in AIMS:
        logs = [math.log(r[peer] / r["kerasbn"]) for r in rows if r["group"] == group]
        mean, least = math.exp(statistics.fmean(logs)), math.exp(min(logs))
        ratios[f"{group}, {peer}"] = {"mean": mean, "least": least, "aims": aims}
        print(f"{group:<22} {peer:<26} {mean:.2f} ({aims[0]:g})  {least:.2f} ({aims[1]:g})")
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"rows": rows, "ratios": ratios, "environment": environment()}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
