"""UniformDropout: multiplicative noise that leaves the variance nearly alone, for nets with batch normalization."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kerasbn import checks
from kerasbn.checks import InputError
from kerasbn.layers import options


@keras.saving.register_keras_serializable(package="kerasbn")
class UniformDropout(keras.layers.Layer):
    """Multiply by uniform noise around 1 in training, and return the inputs as they are afterwards ("Uout").

        y = x (1 + r),   r ~ U(-beta, beta)

    The noise has mean 0 and variance beta^2/3, so that y has the mean of x, and in training the variance

        Var[y] = Var[x] + beta^2/3 E[x^2]

    since Var[x r] = E[x^2] Var[r] and x and x r are uncorrelated. Afterwards it is Var[x]. For inputs of mean 0,

        variance afterwards / variance in training = 3 / (3 + beta^2)

    which is 0.997 for beta = 0.1, 0.923 for 0.5 and 0.75 for 1; with a mean m it is (1 + beta^2/3 (1 + m^2/Var[x]))^-1.

    Why not `keras.layers.Dropout` before a BatchNormalization: with the share q of the inputs dropped and the others
    divided by p = 1 - q, E[y^2] = p E[x^2]/p^2, hence

        Var[y] = E[x^2]/p - E[x]^2 = Var[x] + q/p E[x^2]

    and for inputs of mean 0 the ratio is p: a half for the usual q = 0.5. The linear layer in between sums such terms
    and hands the ratio on. The BatchNormalization divides by the variance that it averaged in training, which at
    inference is no longer that of its inputs: its outputs come sqrt(p) times too small, layer after layer (the
    variance shift). Three ways out: dropout only after the last BatchNormalization, this layer with a small `beta`,
    or moving statistics taken anew with dropout off.

    Args:
        beta: Half the width of the noise, in [0, 1]; 0 is none.
        noise_shape: Shape of the noise if not that of the inputs: 1 for axes along which it is the same, None for
            those along which it is not, as in `(None, 1, None)` for noise that is the same at every time step.
        seed: A whole number, for noise that can be repeated.
        **kwargs: `name` and `dtype` of the layer.

    Call arguments:
        inputs: Floating-point, of any shape.
        training: Whether to add noise.

    Raises:
        InputError: If an argument is out of range, the inputs hold whole numbers, or `noise_shape` does not fit them.

    Example:
        >>> layer = UniformDropout(beta=0.5, seed=0)
        >>> y = layer(np.full((1000, 10), 2.0, "float32"), training=True).numpy()
        >>> bool(y.min() >= 1), bool(y.max() <= 3), round(float(y.var() / 2**2), 2)  # 0.5^2/3
        (True, True, 0.08)
        >>> layer(np.array([2.0], "float32")).numpy().tolist()
        [2.0]

    Source: Li et al. (2019), arXiv:1801.05134, for "Uout" and the variance shift.
    """

    def __init__(
        self, beta: float, noise_shape: Sequence[int | None] | None = None, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.beta = float(checks.in_range(f"{self.name}.beta", beta, 0, 1, remedy="0.1 is usual."))
        if not isinstance(noise_shape, Sequence | None):
            raise InputError(f"{self.name}.noise_shape", "a size or None for each axis", repr(noise_shape))
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)
        for size in self.noise_shape or ():
            if size is not None:
                checks.in_range(f"{self.name}.noise_shape", size, 1, integer=True, remedy="None is the inputs' size.")
        self.seed = seed if seed is None else checks.in_range(f"{self.name}.seed", seed, 0, integer=True)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Check that `noise_shape` fits the inputs, or raise InputError; there are no weights."""
        self._check_noise_shape(input_shape)

    def call(self, inputs: Any, training: bool | None = None) -> tf.Tensor:
        """Return `inputs` with noise, or as they are; see the class."""
        x = tf.convert_to_tensor(inputs)
        options.check_dtype(self.name, x.dtype)
        self._check_noise_shape(x.shape)
        if not training or self.beta == 0:
            return x
        sizes = self.noise_shape or (None,) * len(x.shape)
        shape = [tf.shape(x)[axis] if size is None else size for axis, size in enumerate(sizes)]
        # Whole numbers from -2^31 to below 2^31: from one seed XLA draws the same, which it does not of fractions.
        # In float32: steps as coarse as those of bfloat16, from 0 to below 1, would have a mean below a half.
        seed = tf.cast(self.seed_generator.next(), tf.int64)
        bits = tf.random.stateless_uniform(shape, seed, minval=None, maxval=None, dtype=tf.int32)
        noise = 1 + tf.cast(bits, tf.float32) * (self.beta / 2**31)
        return x * tf.cast(noise, x.dtype)

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> keras.KerasTensor:
        """Return the shape and dtype of the outputs for symbolic `inputs`; InputError if they hold whole numbers."""
        options.check_dtype(self.name, inputs.dtype)
        return super().compute_output_spec(inputs, training=training)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the inputs, which is that of the outputs."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, as JSON."""
        return {**super().get_config(), "beta": self.beta, "noise_shape": self.noise_shape, "seed": self.seed}

    def _check_noise_shape(self, shape: Sequence[int | None]) -> None:
        given = self.noise_shape
        if given is None:
            return
        if len(given) != len(shape) or any(one not in (None, 1, size) for one, size in zip(given, shape, strict=True)):
            raise InputError(
                f"{self.name}.noise_shape",
                f"None, 1 or the size for each of the {len(shape)} axes of inputs of shape {tuple(shape)}",
                given,
            )
