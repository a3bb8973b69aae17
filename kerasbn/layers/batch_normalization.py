"""BatchNormalization: the layer that keeps gamma, beta and the moving statistics."""

from typing import Any

import keras
import tensorflow as tf

from kerasbn import checks
from kerasbn.checks import InputError
from kerasbn.layers import normalization


@keras.saving.register_keras_serializable(package="kerasbn")
class BatchNormalization(keras.layers.Layer):
    """Normalise each channel by the batch's statistics in training, and by their moving averages afterwards.

    In training (`training=True` and `trainable`), with the statistics of the batch over all axes but `axis`:

        y = gamma (x - mean) / sqrt(variance + epsilon) + beta
        moving_mean     <- momentum moving_mean     + (1 - momentum) mean
        moving_variance <- momentum moving_variance + (1 - momentum) variance

    and otherwise the moving statistics take the place of the batch's. The variance is the biased one (sum of
    squares divided by the number of values) in both places, as in Keras. Drops in for
    `keras.layers.BatchNormalization`: same arguments (but those of batch renormalization), defaults, weights and
    their order, so `set_weights` takes the weights of either.

    Args:
        axis: The channel axis, the one that is kept.
        momentum: Weight of the old moving average at each step, in [0, 1].
        epsilon: Added to the variance under the root, above 0.
        center: Whether beta is added.
        scale: Whether gamma multiplies.
        beta_initializer: Initial beta.
        gamma_initializer: Initial gamma.
        moving_mean_initializer: Initial moving mean.
        moving_variance_initializer: Initial moving variance.
        beta_regularizer: Regularizer of beta.
        gamma_regularizer: Regularizer of gamma.
        beta_constraint: Constraint on beta.
        gamma_constraint: Constraint on gamma.
        synchronized: Whether the batch is that of all replicas of a `tf.distribute` strategy together.
        **kwargs: `name`, `dtype` and `trainable` of the layer.

    Call arguments:
        inputs: Any rank of at least 2; float16 and bfloat16 are computed in float32 and cast back.
        training: Whether to use, and average in, the statistics of the batch. A layer with
            `trainable=False` never does.
        mask: True where a value counts in the statistics: the shape of the inputs without `axis` (as
            Keras passes it), or anything of the inputs' rank that can be broadcast to them. Where nothing
            counts the moving statistics stay as they are.

    Raises:
        InputError: If an argument is out of range, or `axis` does not fit the inputs.

    Example:
        >>> layer = BatchNormalization(momentum=0.9)
        >>> layer(np.array([[1.0], [3.0]], "float32"), training=True).numpy().round(3).tolist()
        [[-1.0], [1.0]]
        >>> round(float(layer.moving_mean[0]), 3)
        0.2

    Source: Ioffe and Szegedy (2015), arXiv:1502.03167.
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.axis = int(checks.in_range(f"{self.name}.axis", axis, integer=True))
        self.momentum = float(
            checks.in_range(
                f"{self.name}.momentum",
                momentum,
                0,
                1,
                remedy="It is the weight of the old average; 0.99 is usual.",
            )
        )
        self.epsilon = float(
            checks.in_range(
                f"{self.name}.epsilon",
                epsilon,
                0,
                open_low=True,
                remedy="Without it a constant channel divides by zero.",
            )
        )
        self.center = center
        self.scale = scale
        self.beta_initializer = keras.initializers.get(beta_initializer)
        self.gamma_initializer = keras.initializers.get(gamma_initializer)
        self.moving_mean_initializer = keras.initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = keras.initializers.get(moving_variance_initializer)
        self.beta_regularizer = keras.regularizers.get(beta_regularizer)
        self.gamma_regularizer = keras.regularizers.get(gamma_regularizer)
        self.beta_constraint = keras.constraints.get(beta_constraint)
        self.gamma_constraint = keras.constraints.get(gamma_constraint)
        self.synchronized = synchronized
        self.supports_masking = True
        self.gamma: keras.Variable | None = None
        self.beta: keras.Variable | None = None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights, once the number of channels is known.

        Args:
            input_shape: Shape of the inputs; the size of `axis` must be known.

        Raises:
            InputError: If there is no such axis, or its size is unknown.
        """
        self._check_shape(input_shape)
        channels = input_shape[self.axis]
        if channels is None:
            raise InputError(
                f"{self.name}: size of axis {self.axis}",
                "a known number of channels",
                f"inputs of shape {tuple(input_shape)}",
                "Give keras.Input the size of this axis.",
            )

        def weight(name: str, trainable: bool, initializer: Any, **kwargs: Any) -> keras.Variable:
            # Not cast to the compute dtype: float16 would lose the small steps of a moving average.
            return self.add_weight(
                shape=(channels,),
                name=name,
                initializer=initializer,
                trainable=trainable,
                autocast=False,
                **kwargs,
            )

        if self.scale:
            self.gamma = weight(
                "gamma",
                True,
                self.gamma_initializer,
                regularizer=self.gamma_regularizer,
                constraint=self.gamma_constraint,
            )
        if self.center:
            self.beta = weight(
                "beta",
                True,
                self.beta_initializer,
                regularizer=self.beta_regularizer,
                constraint=self.beta_constraint,
            )
        self.moving_mean = weight("moving_mean", False, self.moving_mean_initializer)
        self.moving_variance = weight("moving_variance", False, self.moving_variance_initializer)
        self.input_spec = keras.layers.InputSpec(ndim=len(input_shape), axes={self.axis: channels})

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the inputs, which is that of the outputs; InputError if `axis` is not in it."""
        self._check_shape(input_shape)
        return input_shape

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> tf.Tensor:
        """Normalise `inputs`; see the class."""
        x = tf.convert_to_tensor(inputs)
        dtype = normalization.statistics_dtype(x.dtype)
        gamma = None if self.gamma is None else tf.cast(self.gamma, dtype)
        beta = None if self.beta is None else tf.cast(self.beta, dtype)
        moving_mean, moving_variance = tf.cast(self.moving_mean, dtype), tf.cast(self.moving_variance, dtype)
        if not (training and self.trainable):
            y = normalization.normalize(x, moving_mean, moving_variance, gamma, beta, self.epsilon, self.axis)
            return tf.cast(y, self.compute_dtype)
        if mask is not None:
            mask = self._aligned(mask, x)
        y, mean, variance, count = normalization.batch_normalize(
            x, gamma, beta, self.epsilon, self.axis, mask, self.synchronized and _replicas() > 1
        )
        for moving, old, new in (
            (self.moving_mean, moving_mean, mean),
            (self.moving_variance, moving_variance, variance),
        ):
            updated = old * self.momentum + new * (1 - self.momentum)
            moving.assign(tf.cast(tf.where(count > 0, updated, old), moving.dtype))
        return tf.cast(y, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, as JSON."""
        config = {
            "axis": self.axis,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "synchronized": self.synchronized,
        }
        for name in ("beta", "gamma", "moving_mean", "moving_variance"):
            key = f"{name}_initializer"
            config[key] = keras.initializers.serialize(getattr(self, key))
        for name in ("beta", "gamma"):
            regularizer, constraint = f"{name}_regularizer", f"{name}_constraint"
            config[regularizer] = keras.regularizers.serialize(getattr(self, regularizer))
            config[constraint] = keras.constraints.serialize(getattr(self, constraint))
        return {**super().get_config(), **config}

    def _check_shape(self, shape: tuple[int | None, ...]) -> None:
        rank = len(shape)
        if rank < 2:
            raise InputError(f"{self.name}: inputs", "examples and at least one more axis", f"shape {tuple(shape)}")
        if not -rank <= self.axis < rank:
            raise InputError(
                f"{self.name}.axis",
                f"an axis from {-rank} to {rank - 1} of inputs of shape {tuple(shape)}",
                self.axis,
                "Use -1 for channels last, 1 for channels first.",
            )

    def _aligned(self, mask: Any, x: tf.Tensor) -> tf.Tensor:
        rank = len(x.shape)
        mask = tf.convert_to_tensor(mask)
        if len(mask.shape) not in (rank - 1, rank):
            raise InputError(
                f"{self.name}: mask",
                f"{rank - 1} axes (the inputs' without axis {self.axis}) or {rank}",
                f"shape {tuple(mask.shape)} for inputs of shape {tuple(x.shape)}",
            )
        return normalization.aligned_mask(mask, rank, self.axis % rank)


def _replicas() -> int:
    return tf.distribute.get_strategy().num_replicas_in_sync
