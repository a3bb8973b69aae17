"""SoftmaxCrossEntropy: the loss of a classifier, from logits, for integer and for soft labels."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from kerasbn import checks
from kerasbn.losses import guard, labels, softmax, weighting


class _Rows(NamedTuple):
    """The rows of a batch: losses, weights (None: all 1), and whether they count (None: all do)."""

    losses: tf.Tensor
    weights: tf.Tensor | None
    counted: tf.Tensor | None


@keras.saving.register_keras_serializable(package="kerasbn")
class SoftmaxCrossEntropy(keras.losses.Loss):
    """Softmax cross-entropy of logits z, with K classes.

        y_hat = softmax(z / T)
        q     = (1 - s) y + s / K
        L     = -sum_k q_k log y_hat_k + c lse(z / T)^2,          lse(z) = log sum_k exp(z_k)
        dL/dz = ((1 + 2 c lse(z / T)) y_hat - q) / T

    with y the label as a distribution (one-hot for an integer), s the smoothing, T the temperature and c the factor
    of the z-loss. With s = 0, T = 1 and c = 0, dL/dz = y_hat - y; kerasbn/losses/softmax.py derives it. No exponential
    overflows and no logarithm meets a zero, however large the logits. With two classes it is logistic regression on
    z_1 - z_0.

    Over a batch, with the rows' weights w = sample weight * class weight * (1 if the row counts, 0 if it is masked or
    of `ignore_class`), it is the weighted mean

        sum w L / sum w

    which is 0 if all weights are. Class weights are weights like any others: `class_weight` and
    `sample_weight = class_weight[y]` are the same under every reduction. Keras's own default, "sum_over_batch_size",
    divides by the number of rows that count instead, so that there the size of the weights sets the size of the
    steps, and a batch in which rare classes abound makes larger ones. Without weights both are the same mean.

    Args:
        label_smoothing: s, the share of the label that is spread over all classes that are not masked, in [0, 1).
        class_weight: Weight of each class, at least 0: a sequence of K, or a mapping from classes to weights in
            which those left out weigh 1; None: all weigh 1. Of a soft label it is the mean, sum_k y_k class_weight_k.
        ignore_class: Rows of this class do not count; None: all do. It need not be one of the K classes if labels
            are integers (-1, 255).
        temperature: T, above 0.
        axis: The class axis of the logits.
        z_loss: c, at least 0; 1e-4 is usual. It keeps lse(z) near 0, and logits from drifting off together.
        reduction: "mean_with_sample_weight", as above; "sum_over_batch_size" or "mean", sum w L / rows that count;
            "sum", sum w L; or None, w L for each row.
        name: Name of the loss.
        dtype: float32 or float64, which the loss is computed in; None: Keras's `floatx`, or float32 where that
            is float16 or bfloat16, whatever the logits' own.

    Call arguments:
        y_true: Integer labels, the shape of the logits without `axis` or with size 1 there; or one-hot or soft
            labels of the logits' shape, which sum to 1 over `axis`. They keep their own dtype.
        y_pred: Logits, such as (batch, K). There is no `from_logits`: probabilities are not taken. -inf masks a class
            of a row: it has no part in the loss, unless it is the true class, which makes the loss infinite. Rows
            that a Keras mask excludes do not count.
        sample_weight: For each row, or a shape that broadcasts to that; fewer axes are the first ones.

    A row that does not count, or has the weight 0, adds neither loss nor derivative, whatever its logits; if it is
    masked, whatever its label. A row whose logits are all -inf has no softmax, and its loss is NaN.

    An integer label outside [0, K) other than `ignore_class` raises `tf.errors.InvalidArgumentError`, eagerly and in
    graphs. XLA cannot raise (it leaves assertions out), and there the loss is NaN.

    What went through a softmax or sigmoid is refused: in graphs, such as `fit` traces, by the operation that it comes
    from, and eagerly by its values. So are labels and logits in the wrong order, as far as it can be told.

    Raises:
        InputError: If an argument is out of range, shapes do not fit, or predictions are no logits.

    Example:
        >>> float(SoftmaxCrossEntropy()(np.array([0]), np.array([[0.0, 0.0]])))  # log 2
        0.6931471824645996
        >>> float(SoftmaxCrossEntropy(class_weight=[1, 3])(np.array([0, 1]), np.array([[0.0, 0.0], [0.0, 100.0]])))
        0.1732867956161499

    Source: Bishop (2006), Pattern Recognition and Machine Learning, section 4.3.4; label smoothing: Szegedy et
    al. (2015), arXiv:1512.00567, section 7; z-loss: Chowdhery et al. (2022), arXiv:2204.02311, section 5.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        class_weight: Sequence[float] | Mapping[int, float] | None = None,
        ignore_class: int | None = None,
        temperature: float = 1.0,
        axis: int = -1,
        z_loss: float = 0.0,
        reduction: str | None = "mean_with_sample_weight",
        name: str = "softmax_cross_entropy",
        dtype: Any = None,
    ) -> None:
        if reduction is not None:
            checks.one_of("reduction", reduction, weighting.REDUCTIONS)
        super().__init__(name=name, reduction=reduction, dtype=weighting.checked_dtype(dtype))
        self.label_smoothing = float(checks.in_range("label_smoothing", label_smoothing, 0, 1, open_high=True))
        self.class_weight = labels.checked_weights(class_weight)
        if ignore_class is not None:
            ignore_class = int(checks.in_range("ignore_class", ignore_class, integer=True))
        self.ignore_class = ignore_class
        self.temperature = float(checks.in_range("temperature", temperature, 0, open_low=True))
        self.axis = int(checks.in_range("axis", axis, integer=True))
        self.z_loss = float(checks.in_range("z_loss", z_loss, 0))

    # Keras's own would make floating-point numbers of the labels first, and divide by other sums of weights.
    @tf.autograph.experimental.do_not_convert
    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tf.Tensor:
        """Return the loss of a batch; see the class."""
        with tf.name_scope(self.name):
            rows = self._rows(y_true, y_pred)
            weights = rows.weights
            if sample_weight is not None:
                weights = weighting.product(weights, weighting.per_row("sample_weight", sample_weight, rows.losses))
            return weighting.reduced(rows.losses, weights, rows.counted, self.reduction)

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        """Return the loss of each row.

        Args:
            y_true: Labels; see the class.
            y_pred: Logits; see the class.

        Returns:
            The shape of the logits without `axis`.

        Raises:
            InputError: If shapes do not fit, or predictions are no logits.
        """
        return weighting.reduced(*self._rows(y_true, y_pred), None)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, as JSON."""
        return {
            **super().get_config(),
            "label_smoothing": self.label_smoothing,
            "class_weight": self.class_weight,
            "ignore_class": self.ignore_class,
            "temperature": self.temperature,
            "axis": self.axis,
            "z_loss": self.z_loss,
            "dtype": self.dtype,
        }

    def _rows(self, y_true: Any, y_pred: Any) -> _Rows:
        # Keras's own channel for time steps that do not count ("Understanding masking and padding").
        mask = getattr(y_pred, "_keras_mask", None)
        y, logits = tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred)
        is_whole = labels.has_whole_numbers(y, logits, self.axis)
        guard.refuse_probabilities(logits, self.axis)
        # None for what is not known before the step runs. In a graph that is what is no constant.
        known = tf.get_static_value(y_true if isinstance(y_true, tf.Tensor) else y)
        if known is not None and not is_whole:
            guard.refuse_no_distributions(known, self.axis)
            guard.refuse_swapped(known, logits, self.axis)
        if known is not None and is_whole and mask is None and not tf.executing_eagerly():
            with tf.init_scope():  # a constant can raise even where XLA compiles
                labels.whole_numbers(tf.constant(known), logits.shape[self.axis], self.ignore_class)
        logits_shape = logits.shape
        logits = tf.cast(logits, self.dtype)
        axis, rank = self.axis % logits.shape.rank, logits.shape.rank
        order = [i for i in range(rank) if i != axis] + [axis]
        if axis != rank - 1:
            logits = tf.transpose(logits, order)
        if is_whole:
            y = tf.squeeze(y, axis) if y.shape.rank == rank else y
        else:
            y = tf.ensure_shape(y, logits_shape)  # of unknown size it may be a column, which would be broadcast
            y = tf.cast(y if axis == rank - 1 else tf.transpose(y, order), self.dtype)
        counted = None
        if mask is not None:
            counted = tf.cast(weighting.per_row("mask", mask, tf.zeros_like(logits[..., 0])), tf.bool)
        rows = self._whole(y, logits, counted) if is_whole else self._soft(y, logits, counted)
        if rows.counted is None:
            return rows
        return rows._replace(weights=weighting.product(rows.weights, tf.cast(rows.counted, self.dtype)))

    def _whole(self, y: tf.Tensor, logits: tf.Tensor, counted: tf.Tensor | None) -> _Rows:
        classes = logits.shape[-1]
        ids, counted = labels.whole_numbers(y, classes, self.ignore_class, counted)
        weights = None
        if self.class_weight is not None:
            of_each = tf.convert_to_tensor(labels.weight_of_each(self.class_weight, classes), self.dtype)
            weights = tf.gather(of_each, ids)
        return _Rows(self._losses(ids, logits), weights, counted)

    def _soft(self, y: tf.Tensor, logits: tf.Tensor, counted: tf.Tensor | None) -> _Rows:
        classes, weights = logits.shape[-1], None
        if self.ignore_class is not None:
            remedy = "Soft labels have no other classes."
            checks.in_range("ignore_class", self.ignore_class, 0, classes - 1, integer=True, remedy=remedy)
            kept = y[..., self.ignore_class] < 1
            counted = kept if counted is None else counted & kept
        if self.class_weight is not None:
            of_each = tf.convert_to_tensor(labels.weight_of_each(self.class_weight, classes), self.dtype)
            weights = tf.linalg.matvec(y, of_each)
        return _Rows(self._losses(y, logits), weights, counted)

    def _losses(self, target: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Return the losses without weights, for labels and logits with the classes last."""
        shape, classes = tf.shape(logits)[:-1], logits.shape[-1]
        if logits.shape.rank != 2:
            target = tf.reshape(target, [-1] if target.dtype.is_integer else [-1, classes])
        z = logits if logits.shape.rank == 2 else tf.reshape(logits, [-1, classes])
        z = z / self.temperature if softmax.counts(self.temperature, 1) else z
        losses = softmax.softmax_cross_entropy(z, target, self.label_smoothing, self.z_loss)
        return losses if logits.shape.rank == 2 else tf.ensure_shape(tf.reshape(losses, shape), logits.shape[:-1])
