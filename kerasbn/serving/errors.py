"""What can be wrong with a request, with TensorFlow's names and TensorFlow Serving's HTTP codes."""

import types
from collections.abc import Mapping

# https://github.com/tensorflow/serving, model_servers/http_server.cc
HTTP_CODES: Mapping[str, int] = types.MappingProxyType(
    {
        "INVALID_ARGUMENT": 400,
        "FAILED_PRECONDITION": 400,
        "OUT_OF_RANGE": 400,
        "UNAUTHENTICATED": 401,
        "PERMISSION_DENIED": 403,
        "NOT_FOUND": 404,
        "ALREADY_EXISTS": 409,
        "ABORTED": 409,
        "RESOURCE_EXHAUSTED": 429,
        "CANCELLED": 499,
        "UNIMPLEMENTED": 501,
        "UNAVAILABLE": 503,
        "DEADLINE_EXCEEDED": 504,
    }
)


class RequestError(Exception):
    """A request that cannot be answered; the message goes to the client.

    Args:
        message: What is wrong, in TensorFlow Serving's words where it has some.
        code: TensorFlow's name of the kind of error.
    """

    def __init__(self, message: str, code: str = "INVALID_ARGUMENT") -> None:
        super().__init__(message)
        self.message, self.code = message, code

    @property
    def http_code(self) -> int:
        """The HTTP code of the reply; 500 for kinds without one of their own."""
        return HTTP_CODES.get(self.code, 500)
