"""A hypermodel for tests of what is trained from where on: Adam on four weights, a step an epoch, in milliseconds."""

import keras
import keras_tuner
import numpy as np


class Bowl(keras_tuner.HyperModel):
    """Leads four weights to 1, by a gradient with noise."""

    def build(self, hp):
        model = keras.Sequential([keras.layers.Dense(hp.Int("units", 1, 1), use_bias=False)])  # no Input
        model.compile(keras.optimizers.Adam(hp.Float("learning_rate", 1e-3, 1.0, sampling="log")), "mse")
        hp.Float("noise", 0.1, 1.0)
        return model

    def fit(self, hp, model, callbacks=(), epochs=1, initial_epoch=0):
        if not model.built:
            model.build((None, 4))
        history = keras.callbacks.History()
        seen = keras.callbacks.CallbackList([*callbacks, history], model=model)
        seen.on_train_begin()
        (kernel,) = model.trainable_variables
        for epoch in range(initial_epoch, epochs):
            noise = np.random.normal(size=kernel.shape).astype(np.float32)
            model.optimizer.apply([2 * (kernel.numpy() - 1) + hp.get("noise") * noise], [kernel])
            seen.on_epoch_end(epoch, {"val_loss": float(np.mean((kernel.numpy() - 1) ** 2))})
        seen.on_train_end()
        return history


def kept_weights(tuner, number):
    """Return the weights that a search kept of a trial."""
    with np.load(tuner.study.directory / f"trial-{number:05d}.npz") as arrays:
        return list(arrays.values())
