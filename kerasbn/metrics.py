"""Metrics that Keras does not have: the expected calibration error of a classifier."""

from typing import Any

import keras
import tensorflow as tf

from kerasbn import checks
from kerasbn.losses import guard, labels, weighting


@keras.saving.register_keras_serializable(package="kerasbn")
class ExpectedCalibrationError(keras.metrics.Metric):
    """How far a classifier's confidence is from how often it is right (ECE), from logits z.

        confidence = max_k softmax(z)_k
        bin m      = examples with (m - 1) / M < confidence <= m / M,   m = 1, ..., M
        ECE        = sum_m |sum of (right - confidence) over bin m| / (number of examples)

    with right = 1 if the class of the greatest logit is the true one, else 0. It is 0 for a model that is right in 80%
    of the cases in which it says 80%, and so on. It says nothing of how often that is: a model that always gives each
    class its frequency has 0 too. With sample weights, sums and number are weighted. Bins are filled over all batches
    of an epoch.

    Args:
        bins: M, the number of bins.
        ignore_class: Integer labels of this class do not count, as in `SoftmaxCrossEntropy`; None: all do.
        name: Name of the metric.
        dtype: float32 or float64, of the sums; None: Keras's `floatx`, or float32 where that is float16 or bfloat16.

    Call arguments:
        y_true: Integer labels, the shape of the logits without the last axis or with size 1 there; or one-hot or soft
            labels of the logits' shape, of which the greatest is the true class.
        y_pred: Logits, such as (batch, K). Examples that a Keras mask excludes do not count.
        sample_weight: For each example, or a shape that broadcasts to that; fewer axes are the first ones.

    Raises:
        InputError: If `bins` is out of range, shapes do not fit, or predictions are no logits.

    Example:
        >>> metric = ExpectedCalibrationError()
        >>> metric.update_state(np.array([0, 1]), np.log([[0.8, 0.2], [0.8, 0.2]]))  # 80% sure, 50% right
        >>> round(float(metric.result()), 3)
        0.3

    Source: Naeini et al. (2015), AAAI; Guo et al. (2017), arXiv:1706.04599, section 2.
    """

    def __init__(
        self,
        bins: int = 15,
        ignore_class: int | None = None,
        name: str = "expected_calibration_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=weighting.checked_dtype(dtype))
        self.bins = int(checks.in_range("bins", bins, 1, integer=True))
        if ignore_class is not None:
            ignore_class = int(checks.in_range("ignore_class", ignore_class, integer=True))
        self.ignore_class = ignore_class
        self.differences = self.add_weight(shape=(self.bins,), initializer="zeros", name="differences")
        self.count = self.add_weight(shape=(), initializer="zeros", name="count")

    @tf.autograph.experimental.do_not_convert
    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Fill the bins with a batch; see the class."""
        y, logits = tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred)
        is_whole = labels.has_whole_numbers(y, logits, -1)
        guard.refuse_probabilities(logits, -1)
        classes = tf.argmax(logits, axis=-1)
        weights = tf.ones_like(classes, self.dtype)
        for subject, given in (("sample_weight", sample_weight), ("mask", getattr(y_pred, "_keras_mask", None))):
            if given is not None:
                weights *= weighting.per_row(subject, given, weights)
        if is_whole:
            y = tf.squeeze(y, -1) if y.shape.rank == logits.shape.rank else y
            ids, counted = labels.whole_numbers(y, logits.shape[-1], self.ignore_class, tf.not_equal(weights, 0))
            right, weights = tf.equal(tf.cast(ids, tf.int64), classes), tf.where(counted, weights, 0)
        else:
            right = tf.equal(tf.argmax(tf.ensure_shape(y, logits.shape), axis=-1), classes)
        confidences = tf.reduce_max(tf.nn.softmax(tf.cast(logits, self.dtype)), axis=-1)
        differences = tf.cast(right, self.dtype) - confidences
        bins = tf.clip_by_value(tf.cast(tf.math.ceil(confidences * self.bins), tf.int32) - 1, 0, self.bins - 1)
        values = tf.math.multiply_no_nan(differences, weights)
        filled = tf.math.unsorted_segment_sum(tf.reshape(values, [-1]), tf.reshape(bins, [-1]), self.bins)
        self.differences.assign_add(filled)
        self.count.assign_add(tf.reduce_sum(weights))

    def result(self) -> tf.Tensor:
        """Return the error over all that came since the last reset, in [0, 1]; 0 if nothing did."""
        return tf.math.divide_no_nan(tf.reduce_sum(tf.abs(self.differences.value)), self.count.value)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, as JSON."""
        return {**super().get_config(), "bins": self.bins, "ignore_class": self.ignore_class}
