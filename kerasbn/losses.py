"""SoftmaxCrossEntropy: the loss of a classifier, from logits, for integer and for soft labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from kerasbn import checks
from kerasbn.checks import InputError

# Keras hands labels to a loss in the loss's own dtype; float32 has every whole number up to here.
LARGEST_CLASS_COUNT = 2**24


@keras.saving.register_keras_serializable(package="kerasbn")
class SoftmaxCrossEntropy(keras.losses.Loss):
    """Softmax cross-entropy of logits z, with K classes.

        y_hat = softmax(z / T)
        q     = (1 - s) y + s / K
        L     = w (log sum_k exp(z_k / T) - sum_k q_k z_k / T)  =  -w sum_k q_k log y_hat_k
        dL/dz = w (y_hat - q) / T

    with y the label as a distribution (one-hot for an integer), s the smoothing, T the temperature and
    w = sum_k y_k class_weight_k. In this form no exponential overflows and no logarithm meets a zero, however
    large the logits. With s = 0, T = 1 and w = 1, dL/dz = y_hat - y. With two classes it is logistic regression
    on z_1 - z_0.

    Args:
        label_smoothing: s, the share of the label that is spread over all classes, in [0, 1).
        class_weight: Weight of each class, at least 0: a sequence of K, or a mapping from classes to weights in
            which those left out weigh 1; None: all weigh 1.
        ignore_class: Rows of this class have no loss, and means do not count them; None: all count. It need not
            be one of the K classes if labels are integers (-1, 255). If all rows are ignored the loss is 0.
        temperature: T, above 0.
        axis: The class axis of the logits.
        reduction: As `keras.losses.Loss`: "sum_over_batch_size", "mean", "mean_with_sample_weight", "sum" or None.
        name: Name of the loss.
        dtype: float32 or float64, which the loss is computed in; None: Keras's `floatx`, or float32 where that
            is float16 or bfloat16, whatever the logits' own.

    Call arguments:
        y_true: Integer labels, the shape of the logits without `axis` or with size 1 there; or one-hot or soft
            labels of the logits' shape, which sum to 1 over `axis`.
        y_pred: Logits, such as (batch, K). There is no `from_logits`: probabilities are not taken.
        sample_weight: As `keras.losses.Loss`.

    An integer label outside [0, K) other than `ignore_class` raises `tf.errors.InvalidArgumentError` on a CPU;
    XLA and GPUs cannot raise, and there the loss is NaN.

    Raises:
        InputError: If an argument is out of range, or shapes do not fit.

    Example:
        >>> float(SoftmaxCrossEntropy()(np.array([0]), np.array([[0.0, 0.0]])))  # log 2
        0.6931471824645996

    Source: Bishop (2006), Pattern Recognition and Machine Learning, section 4.3.4; label smoothing: Szegedy et
    al. (2015), arXiv:1512.00567, section 7.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        class_weight: Sequence[float] | Mapping[int, float] | None = None,
        ignore_class: int | None = None,
        temperature: float = 1.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "softmax_cross_entropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=_loss_dtype(dtype))
        self.label_smoothing = float(checks.in_range("label_smoothing", label_smoothing, 0, 1, open_high=True))
        self.class_weight = _checked_weights(class_weight)
        if ignore_class is not None:
            ignore_class = int(checks.in_range("ignore_class", ignore_class, integer=True))
        self.ignore_class = ignore_class
        self.temperature = float(checks.in_range("temperature", temperature, 0, open_low=True))
        self.axis = int(checks.in_range("axis", axis, integer=True))

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        """Return the loss of each row.

        Args:
            y_true: Labels; see the class.
            y_pred: Logits; see the class.

        Returns:
            The shape of the logits without `axis`.

        Raises:
            InputError: If shapes do not fit.
        """
        y_true, logits = tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred)
        rank = len(logits.shape)
        if not -rank <= self.axis < rank:
            raise InputError("axis", f"an axis of logits of shape {tuple(logits.shape)}", self.axis)
        classes = logits.shape[self.axis]
        self._check_classes(classes)
        sparse = len(y_true.shape) == rank - 1
        if len(y_true.shape) == rank and y_true.shape[self.axis] == 1:
            sparse, y_true = True, tf.squeeze(y_true, self.axis)
        expected = logits.shape[:]
        if sparse:
            expected = tf.TensorShape([size for i, size in enumerate(expected) if i != self.axis % rank])
        if not y_true.shape.is_compatible_with(expected):
            raise InputError(
                "y_true",
                f"integer labels of the logits' shape {tuple(logits.shape)} without axis {self.axis}, "
                "or soft labels of that shape",
                f"shape {tuple(y_true.shape)}",
            )
        if self.axis % rank != rank - 1:
            order = [i for i in range(rank) if i != self.axis % rank] + [self.axis % rank]
            logits = tf.transpose(logits, order)
            y_true = y_true if sparse else tf.transpose(y_true, order)
        logits = logits / self.temperature
        if sparse:
            losses, counted = self._integer(y_true, logits, classes)
        else:
            losses, counted = self._soft(y_true, logits, classes)
        if counted is not None:
            losses = tf.where(counted, losses, 0)
            # Keras's own channel for rows that do not count ("Understanding masking and padding"): means then
            # divide by the number of those that do, and by no 0.
            losses._keras_mask = counted
        return losses

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, as JSON."""
        return {
            **super().get_config(),
            "label_smoothing": self.label_smoothing,
            "class_weight": self.class_weight,
            "ignore_class": self.ignore_class,
            "temperature": self.temperature,
            "axis": self.axis,
            "dtype": self.dtype,
        }

    def _integer(self, y_true: tf.Tensor, logits: tf.Tensor, classes: int) -> tuple[tf.Tensor, tf.Tensor | None]:
        ids = tf.cast(y_true, tf.int64)
        # A label of 1.5, or NaN, would be cut to a whole number that looks right; -1 is refused below.
        ids = tf.where(tf.equal(tf.cast(ids, y_true.dtype), y_true), ids, -1)
        counted = None
        if self.ignore_class is not None:
            counted = tf.not_equal(y_true, tf.cast(self.ignore_class, y_true.dtype))
            ids = tf.where(counted, ids, 0)
        # The fused kernel takes the greatest logit off before the exponentials, and refuses other classes.
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=ids, logits=logits)
        if self.label_smoothing:
            uniform = tf.fill(tf.shape(logits), tf.constant(1 / classes, logits.dtype))
            spread = tf.nn.softmax_cross_entropy_with_logits(labels=uniform, logits=logits)
            losses = (1 - self.label_smoothing) * losses + self.label_smoothing * spread
        if self.class_weight is not None:
            # XLA clips indices instead of refusing them, but there the loss is NaN already.
            losses *= tf.gather(self._weights(classes, logits.dtype), ids)
        return losses, counted

    def _soft(self, y_true: tf.Tensor, logits: tf.Tensor, classes: int) -> tuple[tf.Tensor, tf.Tensor | None]:
        counted = None
        if self.ignore_class is not None:
            checks.in_range(
                "ignore_class",
                self.ignore_class,
                0,
                classes - 1,
                integer=True,
                remedy="Soft labels have no other classes.",
            )
            counted = y_true[..., self.ignore_class] < 1
        target = y_true
        if self.label_smoothing:
            target = (1 - self.label_smoothing) * y_true + self.label_smoothing / classes
        losses = tf.nn.softmax_cross_entropy_with_logits(labels=target, logits=logits)
        if self.class_weight is not None:
            losses *= tf.reduce_sum(y_true * self._weights(classes, logits.dtype), axis=-1)
        return losses, counted

    def _check_classes(self, classes: int | None) -> None:
        if classes is None:
            raise InputError("y_pred", f"a known number of classes on axis {self.axis}", "an unknown one")
        checks.in_range(
            "number of classes",
            classes,
            2,
            LARGEST_CLASS_COUNT,
            integer=True,
            remedy="Two classes take two logits, not one.",
        )
        if isinstance(self.class_weight, list) and len(self.class_weight) != classes:
            raise InputError("class_weight", f"{classes} weights, one a class", len(self.class_weight))
        if isinstance(self.class_weight, dict) and max(self.class_weight, default=0) >= classes:
            raise InputError("class_weight", f"classes from 0 to {classes - 1}", f"class {max(self.class_weight)}")

    def _weights(self, classes: int, dtype: tf.DType) -> tf.Tensor:
        weights = self.class_weight
        if isinstance(weights, dict):
            weights = [weights.get(k, 1.0) for k in range(classes)]
        return tf.constant(weights, dtype)


def _loss_dtype(dtype: Any) -> str:
    if dtype is None:
        floatx = keras.config.floatx()
        return floatx if floatx == "float64" else "float32"
    name = dtype.compute_dtype if isinstance(dtype, keras.DTypePolicy) else tf.as_dtype(dtype).name
    if name not in ("float32", "float64"):
        raise InputError(
            "dtype",
            "float32 or float64",
            name,
            "Logits may be float16 or bfloat16; the loss itself, and the numbers of classes, need more bits.",
        )
    return name


def _checked_weights(
    class_weight: Sequence[float] | Mapping[int, float] | None,
) -> list[float] | dict[int, float] | None:
    if class_weight is None:
        return None
    if not isinstance(class_weight, Mapping):
        return [float(checks.in_range(f"class_weight[{k}]", weight, 0)) for k, weight in enumerate(class_weight)]
    weights = {}
    for key, weight in class_weight.items():
        # JSON has only text as keys, so a loss that was loaded gets "0" for 0.
        known = int(key) if isinstance(key, str) and key.isdigit() else key
        known = int(checks.in_range("class of class_weight", known, 0, integer=True))
        weights[known] = float(checks.in_range(f"class_weight[{known}]", weight, 0))
    return weights
