import subprocess
import sys
import textwrap

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


def test_synchronized_replicas_agree_with_one_batch():
    program = textwrap.dedent(SYNCHRONIZED)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "agreed", done.stderr[-3000:]
