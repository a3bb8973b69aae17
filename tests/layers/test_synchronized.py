import subprocess
import textwrap

import pytest

SYNCHRONIZED = """
    import keras, numpy as np, tensorflow as tf
    from kerasbn.layers import BatchNormalization

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    x = np.random.default_rng(0).normal(size=(7, 3)).astype("float32") * [1, 2, 3]
    parts = [x[:5], x[5:]]  # uneven: counts have to be added up too
    plain = BatchNormalization(momentum=0.5)
    whole = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(whole)
        expected = plain(whole, training=True)
        total = tf.reduce_sum(expected ** 3)
    dx, dgamma = tape.gradient(total, [whole, plain.gamma.value])

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        layer = BatchNormalization(momentum=0.5, synchronized=True)
        layer.build((None, 3))
    inputs = [np.concatenate([part, [[9e3] * 3]]) for part in parts]  # a row more, which the mask leaves out
    masks = [np.arange(len(part) + 1) < len(part) for part in parts]

    def distributed(values, dtype):
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(values[context.replica_id_in_sync_group], dtype)
        )

    def replica(part, mask):
        with tf.GradientTape() as tape:
            tape.watch(part)
            y = layer(part, training=True, mask=mask)
            total = tf.reduce_sum(tf.where(mask[:, None], y, 0) ** 3)
        return y, *tape.gradient(total, [part, layer.gamma.value])

    results = strategy.run(replica, args=(distributed(inputs, tf.float32), distributed(masks, tf.bool)))
    y, got_dx, got_dgamma = map(strategy.experimental_local_results, results)
    keep = np.concatenate(masks)
    np.testing.assert_allclose(np.concatenate(y)[keep], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.concatenate(got_dx)[keep], dx, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(sum(got_dgamma), dgamma, rtol=1e-4, atol=1e-4)
    for ours, one in zip(layer.weights, plain.weights):
        for local in strategy.experimental_local_results(ours.value):
            np.testing.assert_allclose(local, one.numpy(), rtol=1e-5, atol=1e-6)
    print("agreed")
"""

# Each replica normalises by its own statistics, and the moving ones are those of all values together.
ALONE = """
    import tempfile

    import keras, numpy as np, tensorflow as tf
    from kerasbn.layers import BatchNormalization

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

    def distributed(values):
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(values[context.replica_id_in_sync_group])
        )

    def check(layers, parts, masks, rtol):
        counted = np.concatenate([part if mask is None else part[mask] for part, mask in zip(parts, masks)])
        exact = np.float64(counted)
        for layer in layers:
            with strategy.scope():
                layer.build((None, 2))
            alone = [BatchNormalization(momentum=0.0) for _ in parts]
            outputs = strategy.run(
                tf.function(lambda x, *mask: layer(x, training=True, mask=mask[0] if mask else None)),
                args=(distributed(parts), *([] if masks[0] is None else [distributed(masks)])),
            )
            if not layer.synchronized:
                for own, y, part, mask in zip(alone, strategy.experimental_local_results(outputs), parts, masks):
                    if layer.virtual_batch_size is None:
                        np.testing.assert_allclose(y, own(part, training=True, mask=mask), rtol=1e-4, atol=1e-4)
            for mean in strategy.experimental_local_results(layer.moving_mean.value):
                np.testing.assert_allclose(mean, exact.mean(0), rtol=1e-6)
            for variance in strategy.experimental_local_results(layer.moving_variance.value):
                np.testing.assert_allclose(variance, exact.var(0), rtol=rtol)

    def layers():
        options = {}, {"kernel": "fused"}, {"synchronized": True}, {"virtual_batch_size": 3}
        return [BatchNormalization(momentum=0.0, **option) for option in options]

    rng = np.random.default_rng(0)
    for offset, rtol in ((0, 1e-5), (1e4, 1e-3)):
        parts = [np.float32(rng.normal(size=(rows, 2)) * [1, 3] + offset) for rows in (5, 40)]
        check(layers(), parts, [None, None], rtol)
        masks = [rng.random(len(part)) < 0.5 for part in parts]
        check([layer for index, layer in enumerate(layers()) if index != 1], parts, masks, rtol)
        check([layers()[0], layers()[2]], parts, [np.zeros(5, bool), masks[1]], rtol)  # nothing counts on one of them

    with strategy.scope():
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3), BatchNormalization(averaging="debiased")])
        model.compile("sgd", "mse")
    x = np.float32(rng.normal(size=(24, 2)))
    model.fit(x, np.zeros((24, 3)), batch_size=8, epochs=2, verbose=0)
    for weight in model.layers[-1].weights:
        one, other = strategy.experimental_local_results(weight.value)
        np.testing.assert_array_equal(one, other)
    with tempfile.TemporaryDirectory() as directory:
        model.save(directory + "/model.keras")
        alone = keras.saving.load_model(directory + "/model.keras")
    for one, other in zip(alone.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(alone(x), model(x), rtol=1e-5, atol=1e-6)
    print("agreed")
"""


@pytest.mark.parametrize("program", [SYNCHRONIZED, ALONE], ids=["synchronized", "alone"])
def test_replicas_agree_with_one_batch(python, program):
    program = textwrap.dedent(program)
    done = subprocess.run([*python, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "agreed", done.stderr[-3000:]
