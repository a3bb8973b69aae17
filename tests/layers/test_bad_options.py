"""Options that cannot be: what the message says, for every one of them."""

import keras
import numpy as np
import pytest

from kerasbn.checks import InputError
from kerasbn.layers import BatchNormalization

MOMENTUM = "It is the weight of the old average; 0.99 is usual."
EPSILON = "Without it a constant channel divides by zero."
TOGETHER = "bn: expected options that go together; received "
RENORM = (
    "renorm=True with virtual_batch_size=4. "
    "Choose one: ghost batches make the statistics vary more, batch renormalization less."
)
SYNCHRONIZED = (
    "synchronized=True with virtual_batch_size=4. "
    "Choose one: the one makes the batch larger than a replica's, the other smaller."
)
MESSAGES = [
    ({"momentum": 1.01}, f"bn.momentum: expected a number in [0, 1]; received 1.01. {MOMENTUM}"),
    ({"momentum": -1e-9}, f"bn.momentum: expected a number in [0, 1]; received -1e-09. {MOMENTUM}"),
    ({"momentum": float("nan")}, f"bn.momentum: expected a number in [0, 1]; received nan. {MOMENTUM}"),
    ({"momentum": None}, f"bn.momentum: expected a number in [0, 1]; received None. {MOMENTUM}"),
    ({"momentum": "0.9"}, f"bn.momentum: expected a number in [0, 1]; received '0.9'. {MOMENTUM}"),
    ({"momentum": True}, f"bn.momentum: expected a number in [0, 1]; received True. {MOMENTUM}"),
    ({"epsilon": -1e-3}, f"bn.epsilon: expected a number above 0; received -0.001. {EPSILON}"),
    ({"epsilon": float("inf")}, f"bn.epsilon: expected a number above 0; received inf. {EPSILON}"),
    ({"epsilon": None}, f"bn.epsilon: expected a number above 0; received None. {EPSILON}"),
    (
        {"averaging": "debias"},
        "bn.averaging: expected one of 'ema', 'debiased', 'cumulative'; received 'debias'. Did you mean 'debiased'?",
    ),
    (
        {"variance_estimator": "unbaised"},
        "bn.variance_estimator: expected one of 'biased', 'unbiased'; received 'unbaised'. Did you mean 'unbiased'?",
    ),
    (
        {"kernel": "fuse"},
        "bn.kernel: expected one of 'auto', 'fused', 'scratch'; received 'fuse'. Did you mean 'fused'?",
    ),
    (
        {"freeze": "stats"},
        "bn.freeze: expected one of 'none', 'statistics', 'affine', 'all'; received 'stats'. "
        "Did you mean 'statistics'?",
    ),
    ({"renorm": True, "virtual_batch_size": 4}, TOGETHER + RENORM),
    ({"synchronized": True, "virtual_batch_size": 4}, TOGETHER + SYNCHRONIZED),
    (
        {"averaging": "debiased", "momentum": 1.0},
        TOGETHER + "averaging='debiased' with momentum=1. With momentum 1 nothing is averaged in; take less, or "
        "averaging='cumulative' for the plain average.",
    ),
    (
        {"kernel": "fused", "virtual_batch_size": 4},
        TOGETHER
        + "kernel='fused' with virtual_batch_size=4. The fused kernel knows nothing of it; take kernel='auto'.",
    ),
    (
        {"kernel": "fused", "synchronized": True},
        TOGETHER + "kernel='fused' with synchronized=True. The fused kernel knows nothing of it; take kernel='auto'.",
    ),
    (
        {"trainable": True, "freeze": "all"},
        TOGETHER + "trainable=True with freeze='all'. Leave one of the two out.",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), MESSAGES)
def test_at_construction(arguments, message):
    with pytest.raises(InputError) as error:
        BatchNormalization(name="bn", **arguments)
    assert str(error.value) == message
    assert isinstance(error.value, ValueError)


@pytest.mark.parametrize(
    "arguments",
    [
        {"averaging": "cumulative", "momentum": 1.0},  # which momentum has no part in
        {"virtual_batch_size": 4.0},
        {"momentum": np.float32(0.5)},
        {"renorm": True, "synchronized": True},
        {"renorm": True, "kernel": "fused"},
        {"freeze": "affine", "trainable": True},
        {"freeze": "all", "trainable": False},
        {"renorm_clipping": {"no": "such"}},  # as in Keras it is nobody's concern without renorm
        {"virtual_batch_size": 4, "variance_estimator": "unbiased", "averaging": "debiased", "freeze": "affine"},
    ],
)
def test_what_goes_together(arguments):
    layer = BatchNormalization(name="bn", **arguments)
    assert BatchNormalization.from_config(layer.get_config()).get_config() == layer.get_config()


@pytest.mark.parametrize("name", ["encoder_norm", "bn"])
def test_messages_name_the_layer(name):
    for arguments in ({"momentum": 2}, {"axis": "x"}, {"virtual_batch_size": 0}):
        with pytest.raises(InputError, match=f"^{name}[.:]"):
            BatchNormalization(name=name, **arguments)


def test_an_option_nobody_knows_is_refused():
    with pytest.raises((TypeError, ValueError), match="moment"):
        BatchNormalization(moment=0.9)


def test_a_config_of_keras_is_taken_and_one_with_our_options_says_them():
    config = keras.layers.BatchNormalization(momentum=0.5, name="bn").get_config()
    assert BatchNormalization.from_config(config).get_config() == config
    ours = BatchNormalization(averaging="cumulative", virtual_batch_size=8, axis=(2, 1), kernel="scratch").get_config()
    assert set(ours) - set(config) == {"averaging", "virtual_batch_size", "kernel"}
    assert ours["axis"] == [2, 1]


def test_inputs_that_are_not_as_built():
    layer = BatchNormalization(name="bn")
    layer.build((None, 3))
    with pytest.raises(ValueError, match=r"bn.*(expected axis|incompatible)"):
        layer(np.zeros((4, 2), "float32"))
    with pytest.raises(ValueError, match=r"bn.*(expected ndim|incompatible)"):
        layer(np.zeros((4, 2, 3), "float32"))


@pytest.mark.parametrize("dtype", ["complex64", "int64", "string"])
def test_inputs_that_are_no_floating_point_numbers(dtype):
    layer = BatchNormalization(name="bn")
    layer.build((None, 3))
    x = np.full((4, 3), "a") if dtype == "string" else np.zeros((4, 3), dtype)
    with pytest.raises(InputError) as error:
        layer(x)
    assert (
        f"bn: inputs: expected floating-point numbers; received {dtype}. "
        'Cast them first: keras.ops.cast(x, "float32").' in str(error.value)
    )
