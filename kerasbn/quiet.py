"""Start TensorFlow without its start-up messages on the terminal."""

import os
import sys
import tempfile


def start_tensorflow() -> None:
    """Import TensorFlow and touch its devices, keeping what its C++ part prints off standard error.

    TensorFlow prints half a screen about oneDNN, CPU instructions and missing GPUs, past Python and past its own
    log level. If starting fails, everything it printed is shown.

    Example:
        >>> start_tensorflow()  # before the first `import tensorflow`
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_logical_devices()
            # Each trial of a search traces functions of its own, as it must.
            tf.get_logger().addFilter(lambda record: "triggered tf.function retracing" not in record.getMessage())
        except Exception:
            kept.seek(0)
            os.write(terminal, kept.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
