"""Rule: the update of a Keras optimizer, for a stack of models whose settings differ."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasbn.caviar.formulas import KINDS, Update, Updated, single
from kerasbn.caviar.suitable import Unsuitable

_ITERATION, _RATE = "iteration", "learning_rate"  # names of the optimizer's variables that are no slots


def traits_of(optimizer: keras.optimizers.Optimizer, variables: Sequence[Any]) -> dict[str, Any]:
    """Return what of an optimizer must be equal in a stack and is not in its config, or is no number there.

    Args:
        optimizer: Built or not.
        variables: The model's trainable variables.

    Returns:
        For JSON: "momentum", whether there is one (else nothing is kept for it); "decayed", which variables the weight
        decay is for, None: there is no decay.

    Raises:
        Unsuitable: If the optimizer, or the way it is used, has no stacked rule.

    Example:
        >>> traits_of(keras.optimizers.SGD(0.1, momentum=0.9), model.trainable_variables)
        {'momentum': True, 'decayed': None}
    """
    kind = type(optimizer)
    if kind not in KINDS:
        origin = f" of {kind.__module__}" if kind.__name__ in {known.__name__ for known in KINDS} else ""
        raise Unsuitable(f"the optimizer {kind.__name__}{origin} has no stacked update rule")
    for name, what in (
        ("use_ema", "averages weights"),
        ("loss_scale_factor", "scales the loss"),
        ("gradient_accumulation_steps", "accumulates gradients"),
    ):
        if getattr(optimizer, name):
            raise Unsuitable(f"the optimizer {what} ({name})")
    has_rate = any(variable.name == _RATE for variable in optimizer.variables)
    if has_rate and not isinstance(optimizer.learning_rate, keras.Variable):
        raise Unsuitable("the optimizer has a plan for its next updates")
    return {"momentum": bool(getattr(optimizer, "momentum", 0)), "decayed": _decayed(optimizer, variables)}


def _decayed(optimizer: keras.optimizers.Optimizer, variables: Sequence[Any]) -> list[bool] | None:
    """Return which variables an optimizer's weight decay is for, None if it has none; the variables stay the same."""
    if optimizer.weight_decay is None:
        return None
    probe = keras.optimizers.SGD(0.5, weight_decay=1.0, name="probe")  # halves what it decays
    before = dict(vars(probe))
    probe.exclude_from_weight_decay(var_names=["none"])
    # Keras has no public name for what this sets; which attributes it does set can be seen.
    names = [name for name, value in vars(probe).items() if name not in before or before[name] is not value]
    held = {name: vars(optimizer)[name] for name in names if name in vars(optimizer)}
    if not held:
        return [True] * len(variables)
    for name, value in held.items():
        setattr(probe, name, value)
    tensors = [variable.value for variable in variables]  # TensorFlow's variables: without constraints
    values = [tensor.numpy() for tensor in tensors]
    try:
        for tensor in tensors:
            tensor.assign(tf.ones_like(tensor))
        probe.apply([tf.zeros_like(tensor) for tensor in tensors], tensors)
        return [bool(np.all(tensor.numpy() != 1)) for tensor in tensors]
    finally:
        for tensor, value in zip(tensors, values, strict=True):
            tensor.assign(value)


class Rule:
    """The update of K models at once; `rule_of` makes it.

    All weights of a model stand one after the other in a row of P numbers, and so does each slot, which is what the
    optimizer remembers of each weight.

    Attributes:
        slots: Names of the slots, such as "momentum" and "velocity" of Adam.
        leaves: Paths of the settings that may differ from model to model, such as "optimizer/beta_1".
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer, variables: Sequence[Any]) -> None:
        traits = traits_of(optimizer, variables)
        if not optimizer.built:
            optimizer.build(list(variables))
        self._kind = KINDS[type(optimizer)]
        self._shapes = [tuple(variable.shape) for variable in variables]
        self._sizes = [math.prod(shape) for shape in self._shapes]
        self._places = list(self._find_places(optimizer))
        self._dtypes = [str(variable.dtype) for variable in optimizer.variables]
        present = {name for name, _ in self._places}
        self.slots = tuple(name for name in self._kind.slots if name in present)
        names = [name for name in self._kind.leaves if name != "momentum" or name in present]
        names += ["weight_decay"] if traits["decayed"] else []
        self.leaves = tuple(f"optimizer/{name}" for name in names)
        self._flag = bool(getattr(optimizer, self._kind.flag, False))
        self._start = {"accumulator": getattr(optimizer, "initial_accumulator_value", 0.0)}
        self._clip = {
            name: getattr(optimizer, name) or 0.0 for name in ("clipnorm", "global_clipnorm", "clipvalue")
        }  # 0 is none in Keras, too
        decayed = traits["decayed"] or []
        self._decays = any(decayed)
        self._decayed = None if all(decayed) else np.repeat(np.array(decayed, np.float32), self._sizes)
        self._constraints = {at: v.constraint for at, v in enumerate(variables) if v.constraint is not None}

    def _find_places(self, optimizer: keras.optimizers.Optimizer) -> Iterator[tuple[str, int]]:
        """Yield what each of the optimizer's variables is: name of a slot, and number of the weight."""
        seen: Counter[str] = Counter()
        for variable in optimizer.variables:
            if variable is optimizer.iterations:
                name = _ITERATION
            elif variable.name == _RATE:
                name = _RATE
            else:  # such as sequential_dense_kernel_velocity
                name = next((slot for slot in self._kind.slots if variable.name.endswith(f"_{slot}")), "")
                at = seen[name]
                if not name or at >= len(self._shapes) or tuple(variable.shape) != self._shapes[at]:
                    raise Unsuitable(f"the optimizer has a variable {variable.name}, and no rule knows what it is for")
            yield name, seen[name]
            seen[name] += 1
        missing = [slot for slot in self._kind.slots if seen[slot] not in (0, len(self._shapes))]
        if missing:
            raise Unsuitable(f"the optimizer keeps no {missing[0]} of some weights")

    def apply(
        self,
        parameters: tf.Tensor,
        gradients: tf.Tensor,
        slots: Mapping[str, tf.Tensor],
        numbers: tf.Tensor,
        rates: tf.Tensor,
        leaves: Mapping[str, tf.Tensor],
        squares: tf.Tensor | None = None,
    ) -> Updated:
        """Update all models once: clipping, weight decay, the rule, constraints, as in Keras.

        What is NaN in a row stays in this row.

        Args:
            parameters: Weights, [K, P] float32.
            gradients: Of the losses, likewise.
            slots: By name, likewise.
            numbers: Number of the update, 1 for the first, [K] float32.
            rates: Learning rates, [K] float32.
            leaves: Settings by path, [K] float64 each: all of `self.leaves`, perhaps more.
            squares: Of a gradient that comes in parts, as an embedding's `tf.IndexedSlices` do, Keras squares the
                parts and adds these: the sums of squares, [K, P]; None: squares of the gradients.

        Returns:
            Weights and slots after the update.

        Raises:
            Unsuitable: If parts of gradients would have to be clipped.
        """
        rates = rates[:, None]

        def leaf(name: str) -> tf.Tensor:
            return tf.cast(leaves[f"optimizer/{name}"], tf.float64)[:, None]

        gradients, squares = self._clipped(gradients, squares)
        if self._decays:
            decayed = parameters if self._decayed is None else parameters * self._decayed
            parameters -= decayed * single(leaf("weight_decay")) * rates
        if squares is None:
            squares = tf.square(gradients)
        parameters, updated = self._kind.formula(
            Update(parameters, gradients, squares, slots, numbers[:, None], rates, leaf, self._flag)
        )
        return self._constrained(parameters), updated

    def _clipped(self, gradients: tf.Tensor, squares: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Return clipped gradients, and the squares of their parts."""
        clipnorm, global_clipnorm, clipvalue = self._clip.values()
        if clipvalue > 0:
            if squares is not None:
                raise Unsuitable("clipvalue clips each part of an embedding's gradient")
            return tf.clip_by_value(gradients, -clipvalue, clipvalue), None
        if clipnorm <= 0 and global_clipnorm <= 0:
            return gradients, squares
        added = [
            tf.reduce_sum(part, axis=1, keepdims=True)
            for part in self._split(tf.square(gradients) if squares is None else squares)
        ]
        if clipnorm > 0:
            divisors = [tf.maximum(tf.sqrt(total), clipnorm) for total in added]
            parts = zip(self._split(gradients), divisors, strict=True)
            gradients = tf.concat([part * clipnorm / divisor for part, divisor in parts], axis=1)
            if squares is not None:
                parts = zip(self._split(squares), divisors, strict=True)
                squares = tf.concat([part * tf.square(clipnorm / divisor) for part, divisor in parts], axis=1)
            return gradients, squares
        norm = tf.sqrt(tf.add_n(added))
        scale = global_clipnorm * tf.minimum(1.0 / norm, 1.0 / global_clipnorm)
        return gradients * (scale + (norm - norm)), None  # Keras has added up the parts by now

    def _split(self, matrix: tf.Tensor) -> list[tf.Tensor]:
        """Return the columns of each weight."""
        return tf.split(matrix, self._sizes, axis=1)

    def _constrained(self, parameters: tf.Tensor) -> tf.Tensor:
        """Return the weights with the constraints of their variables applied."""
        if not self._constraints:
            return parameters
        parts = self._split(parameters)
        for at, constraint in self._constraints.items():
            tensors = tf.reshape(parts[at], [-1, *self._shapes[at]])
            parts[at] = tf.reshape(tf.vectorized_map(constraint, tensors), [-1, self._sizes[at]])
        return tf.concat(parts, axis=1)

    def first_slots(self) -> dict[str, np.ndarray]:
        """Return the slots of a model before the first update, [P] each."""
        return {name: np.full(sum(self._sizes), self._start.get(name, 0.0), np.float32) for name in self.slots}

    def slots_of(self, arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Return the slots, [P] each, that are in the values of a model's `optimizer.variables`."""
        found: dict[str, list[np.ndarray]] = {name: [] for name in self.slots}
        for (name, _), array in zip(self._places, arrays, strict=True):
            if name in found:
                found[name].append(np.ravel(array))
        return {name: np.concatenate(parts).astype(np.float32) for name, parts in found.items()}

    def updates_of(self, arrays: Sequence[np.ndarray]) -> int:
        """Return the number of updates that is in the values of `optimizer.variables`."""
        return int(arrays[self._places.index((_ITERATION, 0))])

    def rate_of(self, arrays: Sequence[np.ndarray]) -> float | None:
        """Return the learning rate that is in the values of `optimizer.variables`; None: a schedule gives it."""
        place = (_RATE, 0)
        return float(arrays[self._places.index(place)]) if place in self._places else None

    def variables_of(self, updates: int, rate: float | None, slots: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return the values of `optimizer.variables` of a model, in Keras's order.

        Args:
            updates: Number of updates done.
            rate: The learning rate; None: a schedule gives it.
            slots: By name, [P] each.

        Returns:
            An array for each variable.

        Raises:
            ValueError: If there is no rate, and the optimizer has a variable for it.
        """
        ends = np.cumsum(self._sizes)[:-1]
        split = {name: np.split(np.asarray(slots[name]), ends) for name in self.slots}
        values: list[np.ndarray] = []
        for (name, at), dtype in zip(self._places, self._dtypes, strict=True):
            if name == _ITERATION:
                value: Any = updates
            elif name == _RATE:
                if rate is None:
                    raise ValueError("The optimizer keeps its learning rate: a number is needed.")
                value = rate
            else:
                value = split[name][at].reshape(self._shapes[at])
            values.append(np.array(value, dtype))
        return values


def rule_of(optimizer: keras.optimizers.Optimizer, variables: Sequence[Any]) -> Rule:
    """Return the update of an optimizer for a stack of models.

    Args:
        optimizer: An SGD, RMSprop, Adagrad, Adam or AdamW of Keras's or of `kerasbn.optimizers`, without a plan. It is
            built if it is not yet. Whether it has a momentum, what it clips and what it excludes from weight decay
            holds for all models of the stack.
        variables: The trainable variables of its model.

    Returns:
        The rule.

    Raises:
        Unsuitable: If the optimizer, or the way it is used, has no stacked rule.

    Example:
        >>> rule = rule_of(keras.optimizers.Adam(0.001), model.trainable_variables)
        >>> rule.slots, rule.leaves
        (('momentum', 'velocity'), ('optimizer/beta_1', 'optimizer/beta_2', 'optimizer/epsilon'))
    """
    return Rule(optimizer, variables)


def rows_of(gradients: Sequence[Any]) -> list[tf.Tensor]:
    """Return what `Rule.apply` takes of the gradient of one model: its row, and that of the squares if they matter.

    Args:
        gradients: Of the loss for each weight, tensors or, as for embeddings, `tf.IndexedSlices`.

    Returns:
        The gradient, (P,); with `tf.IndexedSlices` also the sums of the squares of its parts, (P,).

    Example:
        >>> [row.numpy().tolist() for row in rows_of([tf.constant([[1.0, 2.0]]), tf.constant(3.0)])]
        [[1.0, 2.0, 3.0]]
    """
    if not any(isinstance(gradient, tf.IndexedSlices) for gradient in gradients):
        return [_row(gradients)]
    squares = [
        tf.IndexedSlices(tf.square(gradient.values), gradient.indices, gradient.dense_shape)
        if isinstance(gradient, tf.IndexedSlices)
        else tf.square(gradient)
        for gradient in gradients
    ]
    return [_row(gradients), _row(squares)]


def _row(tensors: Sequence[Any]) -> tf.Tensor:
    return tf.concat([tf.reshape(tf.convert_to_tensor(tensor), [-1]) for tensor in tensors], 0)
