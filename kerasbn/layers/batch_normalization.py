"""BatchNormalization: the layer that keeps gamma, beta and the moving statistics."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kerasbn.layers import fused, ghost, moving_average, normalization, options
from kerasbn.layers.fused import Kernel
from kerasbn.layers.renormalization import renormalize


@keras.saving.register_keras_serializable(package="kerasbn")
class BatchNormalization(keras.layers.BatchNormalization):
    """Normalise each channel by the batch's statistics in training, and by their moving averages afterwards.

    In training (`training=True` and `trainable`), with the statistics of the batch over all axes but `axis`:

        y = gamma (x - mean) / sqrt(variance + epsilon) + beta
        moving_mean     <- momentum moving_mean     + (1 - momentum) mean
        moving_variance <- momentum moving_variance + (1 - momentum) variance

    and otherwise the moving statistics take the place of the batch's. Drops in for `keras.layers.BatchNormalization`,
    of which it is a subclass: same arguments, defaults and weights; the arguments after `synchronized` are its own.

    What is not in a batch is not averaged in: masked values do not count, and a channel without values leaves its
    statistics as they are, one with a single value its variance. Under a `tf.distribute` strategy the moving
    statistics are those of the values of all replicas together, and the same on all of them.

    Args:
        axis: The channel axis, the one that is kept; or several, as in `axis=(1, 3)`, and then the weights have the
            sizes of these, in ascending order.
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
        renorm: Whether to correct the batch's statistics towards averages of them (batch renormalization):
            y = gamma (x^ r + d) + beta with r = deviation / renorm_stddev, d = (mean - renorm_mean) / renorm_stddev,
            which are not differentiated.
        renorm_clipping: Bounds of that correction, `{"rmin": 1/3, "rmax": 3, "dmax": 5}` or some of these keys.
        renorm_momentum: Weight of the old average in `renorm_mean` and `renorm_stddev`, in [0, 1].
        synchronized: Whether the batch is that of all replicas of a `tf.distribute` strategy together.
        virtual_batch_size: In training each so many examples in a row are normalised by their own statistics (ghost
            batches); the last group may be smaller. The moving statistics are those of the whole batch. None: all.
        averaging: "ema" as above; "debiased", the same with bias correction, which is right from the first step on;
            or "cumulative", the plain average of all batches so far, which `momentum` has no part in. These two
            count the batches in one more weight, `updates`.
        variance_estimator: Of the moving variance: "biased" (sum of squares divided by the number m of values), as
            Keras has it, or "unbiased" (times m/(m - 1)), as the paper has it.
        freeze: What stays as it is in training: "none"; "statistics" (normalise by the moving ones and leave them);
            "affine" (gamma and beta are no trainable weights); "all". May be set later, before `compile`.
        kernel: "fused" for TensorFlow's kernel, "scratch" for `layers.normalization`, or "auto": fused where that
            computes the same and is faster. The attribute `kernel` tells which path training takes and why.
        **kwargs: `name`, `dtype` and `trainable` of the layer. With `trainable=False` it never uses the batch's
            statistics, as in Keras.

    Call arguments:
        inputs: Any rank of at least 2; float16 and bfloat16 have float32 statistics, and outputs of their own dtype
            (the fused kernel works on them as they are; from scratch they are taken to float32 in between).
        training: Whether to use, and average in, the statistics of the batch.
        mask: True where a value counts in the statistics: the shape of the inputs without `axis` or, if that does not
            fit, without the last axis (as Keras passes it); or of their rank, and such that it can be broadcast.

    Raises:
        InputError: If an argument is out of range, two of them conflict, or `axis` or a mask does not fit the inputs.

    Example:
        >>> layer = BatchNormalization(momentum=0.9)
        >>> layer(np.array([[1.0], [3.0]], "float32"), training=True).numpy().round(3).tolist()
        [[-1.0], [1.0]]
        >>> round(float(layer.moving_mean[0]), 3)
        0.2
        >>> str(layer.kernel)
        'scratch: the fused kernel is slower on fewer than 100,000 values, and these are 2'

    Source: Ioffe and Szegedy (2015), arXiv:1502.03167; Ioffe (2017), arXiv:1702.03275, for `renorm`; Hoffer et al.
        (2017), arXiv:1705.08741, for `virtual_batch_size`.
    """

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
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
        renorm: bool = False,
        renorm_clipping: dict[str, float] | None = None,
        renorm_momentum: float = 0.99,
        synchronized: bool = False,
        virtual_batch_size: int | None = None,
        averaging: str = "ema",
        variance_estimator: str = "biased",
        freeze: str = "none",
        kernel: str = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            center=center,
            scale=scale,
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            moving_mean_initializer=moving_mean_initializer,
            moving_variance_initializer=moving_variance_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
            **kwargs,
        )
        self.axis = options.checked_axis(self.name, axis)
        self.momentum = options.checked_momentum(f"{self.name}.momentum", momentum)
        self.epsilon = options.checked_epsilon(f"{self.name}.epsilon", epsilon)
        self.synchronized = synchronized
        self.renorm = renorm
        self.renorm_clipping = options.checked_clipping(self.name, renorm_clipping) if renorm else renorm_clipping
        self.renorm_momentum = options.checked_momentum(f"{self.name}.renorm_momentum", renorm_momentum)
        self.virtual_batch_size = virtual_batch_size
        self.averaging = averaging
        self.variance_estimator = variance_estimator
        self._freeze = freeze
        self._asked_kernel = kernel
        self._kernel = Kernel("undecided", "the layer is not built")
        options.check_together(self, kernel, kwargs.get("trainable"))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "BatchNormalization":
        """Make a layer of what `get_config` returned.

        Args:
            config: The arguments of the constructor.

        Returns:
            The layer, not built. `trainable` is set afterwards, since it may have been set after `freeze`.

        Raises:
            InputError: As the constructor does.
        """
        layer = cls(**{key: value for key, value in config.items() if key != "trainable"})
        layer.trainable = config.get("trainable", True)
        return layer

    @property
    def kernel(self) -> Kernel:
        """Which path the last training call took, or the next will; "fused" or "scratch", and why."""
        return self._kernel

    @property
    def freeze(self) -> str:
        """What stays as it is in training: "none", "statistics", "affine" or "all"."""
        return self._freeze

    @freeze.setter
    def freeze(self, value: str) -> None:
        self._freeze = options.checked_freeze(self.name, value)
        self._set_trainable(self._trainable)

    @property
    def trainable(self) -> bool:
        """Whether gamma and beta are trained and the statistics averaged, as far as `freeze` lets them."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._set_trainable(value)

    def _set_trainable(self, value: bool) -> None:
        # Not by `self.trainable = ...` from within: TensorFlow leaves out assignments of what is there already.
        keras.layers.Layer.trainable.fset(self, value)
        # Models set `trainable` of all their layers; gamma and beta of a frozen one stay frozen.
        if self._freeze in ("affine", "all"):
            for parameter in (self.gamma, self.beta):
                if parameter is not None:
                    parameter.trainable = False

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights, once the numbers of channels are known.

        Args:
            input_shape: Shape of the inputs; the sizes of `axis` must be known.

        Raises:
            InputError: If there is no such axis, or its size is unknown.
        """
        axes = options.checked_shape(self, input_shape)
        shape = tuple(input_shape[a] for a in axes)
        self._kernel = options.chosen_kernel(
            self, self._asked_kernel, input_shape, axes, tf.as_dtype(self.compute_dtype)
        )

        def statistic(name: str, initializer: Any, shape: tuple[int | None, ...] = shape) -> keras.Variable:
            # Not cast to the compute dtype: float16 would lose the small steps of a moving average.
            return self.add_weight(shape=shape, name=name, initializer=initializer, trainable=False, autocast=False)

        for name, wanted in (("gamma", self.scale), ("beta", self.center)):
            if wanted:
                parameter = self.add_weight(
                    shape=shape,
                    name=name,
                    initializer=getattr(self, f"{name}_initializer"),
                    regularizer=getattr(self, f"{name}_regularizer"),
                    constraint=getattr(self, f"{name}_constraint"),
                    autocast=False,
                )
                setattr(self, name, parameter)
        self.moving_mean = statistic("moving_mean", self.moving_mean_initializer)
        self.moving_variance = statistic("moving_variance", self.moving_variance_initializer)
        if self.renorm:

            def deviation(shape: tuple[int, ...], dtype: Any = None) -> tf.Tensor:
                return tf.sqrt(_unused(self.moving_variance_initializer)(shape, dtype=dtype))

            self.moving_stddev = statistic("moving_stddev", deviation)
            self.renorm_mean = statistic("renorm_mean", _unused(self.moving_mean_initializer))
            self.renorm_stddev = statistic("renorm_stddev", deviation)
        if self.averaging != "ema":
            # Of the mean and of the variance: a batch of one value has a mean, but tells nothing of the variance.
            self.updates = statistic("updates", "zeros", (2, *shape))
        self._set_trainable(self._trainable)
        self.input_spec = keras.layers.InputSpec(ndim=len(input_shape), axes=dict(zip(axes, shape, strict=True)))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the inputs, which is that of the outputs; InputError if `axis` is not in it."""
        options.checked_axes(self, input_shape)
        return input_shape

    def compute_output_spec(self, inputs: Any, training: bool | None = None, mask: Any = None) -> keras.KerasTensor:
        """Return the shape and dtype of the outputs for symbolic `inputs`; InputError if they hold whole numbers."""
        options.check_dtype(self.name, inputs.dtype)
        return super().compute_output_spec(inputs, training=training, mask=mask)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> tf.Tensor:
        """Normalise `inputs`; see the class."""
        if isinstance(inputs, tf.RaggedTensor):
            return inputs.with_flat_values(self.call(options.flat_values(self, inputs, mask), training))
        x = tf.convert_to_tensor(inputs)
        options.check_dtype(self.name, x.dtype)
        rank = len(x.shape)
        axes = normalization.kept_axes(self.axis, rank)
        if None in [x.shape[a] for a in axes]:  # a function traced for any shape
            sizes = dict(zip(axes, self.moving_mean.shape, strict=True))
            x = tf.ensure_shape(x, [sizes.get(a, size) for a, size in enumerate(x.shape)])
        if mask is not None:
            mask = options.checked_mask(self.name, mask, x, axes)
        if not (training and self.trainable) or self.freeze in ("statistics", "all"):
            return tf.cast(self._infer(x, axes), self.compute_dtype)
        return tf.cast(self._train(x, axes, mask), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, as JSON; those that Keras lacks only where they were given."""
        config = super().get_config()
        own = {
            "virtual_batch_size": (self.virtual_batch_size, None),
            "averaging": (self.averaging, "ema"),
            "variance_estimator": (self.variance_estimator, "biased"),
            "freeze": (self.freeze, "none"),
            "kernel": (self._asked_kernel, "auto"),
        }
        if self.renorm:  # Keras before 3.13 has none
            config |= {key: getattr(self, key) for key in ("renorm", "renorm_clipping", "renorm_momentum")}
        axis = self.axis if isinstance(self.axis, int) else list(self.axis)
        return {**config, "axis": axis, **{key: value for key, (value, default) in own.items() if value != default}}

    def _read(self, name: str, x: tf.Tensor) -> tf.Tensor | None:
        """Return a weight in the dtype that statistics of `x` have, or None if there is no such weight."""
        weight = getattr(self, name)
        return None if weight is None else tf.cast(weight, normalization.statistics_dtype(x.dtype))

    def _infer(self, x: tf.Tensor, axes: tuple[int, ...]) -> tf.Tensor:
        """Normalise by the moving statistics."""
        mean, variance, gamma, beta = (
            self._read(name, x) for name in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        least_size = 0 if self._asked_kernel == "fused" else fused.LEAST_SIZE_AT_INFERENCE
        slower = self._asked_kernel == "scratch" or tf.is_tensor(self.epsilon)
        slower = slower or fused.reason_against(x.shape, axes, x.dtype, least_size)
        function = normalization.normalize if slower or normalization.in_xla() else fused.fused_normalize
        return function(x, mean, variance, gamma, beta, self.epsilon, axes)

    def _train(self, x: tf.Tensor, axes: tuple[int, ...], mask: tf.Tensor | None) -> tf.Tensor:
        """Normalise by the statistics of the batch, and average these in."""
        replicas = _replicas()
        synchronized = self.synchronized and replicas > 1
        chosen = options.chosen_kernel(self, self._asked_kernel, x.shape, axes, x.dtype)
        self._kernel = options.kernel_for_call(self.name, self._asked_kernel, chosen, mask is not None, synchronized)
        gamma, beta = self._read("gamma", x), self._read("beta", x)
        scale, offset = (None, None) if self.renorm else (gamma, beta)
        if self.virtual_batch_size is not None:
            y, mean, variance, count = ghost.ghost_batch_normalize(
                x, scale, offset, self.epsilon, axes, self.virtual_batch_size, mask
            )
        elif self._kernel.path == "fused":
            y, mean, variance, count = fused.fused_batch_normalize(x, scale, offset, self.epsilon, axes)
        else:
            y, mean, variance, count = normalization.batch_normalize(
                x, scale, offset, self.epsilon, axes, mask, synchronized
            )
        if self.renorm:
            y = renormalize(
                y,
                mean,
                variance,
                self._read("renorm_mean", x),
                self._read("renorm_stddev", x),
                gamma,
                beta,
                self.epsilon,
                self.renorm_clipping or {},
                normalization.broadcastable(x, axes),
            )
        if replicas > 1 and not self.synchronized:
            mean, variance, count = normalization.merged(mean, variance, count, normalization.over_replicas)
        moving_average.average_in(self, mean, variance, count)
        return y


def _replicas() -> int:
    # There are none while a model is built in the strategy's scope.
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def _unused(initializer: Any) -> Any:
    """Return the like of an initializer, which if it is random and has a seed draws what the first one drew."""
    if isinstance(initializer, keras.initializers.Initializer):
        return type(initializer).from_config(initializer.get_config())
    return initializer
