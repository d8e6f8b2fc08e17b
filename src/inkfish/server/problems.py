"""What is wrong with a request, in the shape that OpenAI's clients know: message, type, param, code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from inkfish.errors import ContextError, DataError, InkfishError, SettingError, TokenizerError

__all__ = ["ErrorBody", "RequestError", "error_object", "handle_errors", "of_exception", "problem_response"]

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    421: "permission_error",
    429: "rate_limit_error",
}
CODES = {
    401: "invalid_api_key",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    413: "too_large",
    414: "too_large",
    415: "unsupported_media_type",
    421: "unknown_host",
    429: "overloaded",
    431: "too_large",
    500: "server_error",
    503: "unavailable",
}
BRANCHES = frozenset({"str", "int", "float", "list[", "const", "none", "nulla"})
"""Names (or their beginnings) that pydantic gives to the kinds of a value that may be of several."""
LONGEST_NAME = 100
ErrorBody = dict[str, dict[str, str | None]]


class RequestError(Exception):
    """A request that is not served, and what to answer."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Describe what is wrong.

        Args:
            status: of HTTP.
            message: one line for the caller, without secrets.
            param: the field at fault.
            code: a word for programs; None is the usual one of the status.
            headers: further ones of the answer.
        """
        super().__init__(message)
        self.status, self.message, self.param = status, message, param
        self.code = code or CODES.get(status)
        self.headers = dict(headers or {})


def error_object(problem: RequestError) -> ErrorBody:
    """Return the answer's body, always with the four keys."""
    fallback = "server_error" if problem.status >= 500 else "invalid_request_error"
    return {
        "error": {
            "message": problem.message,
            "type": TYPES.get(problem.status, fallback),
            "param": problem.param,
            "code": problem.code,
        }
    }


def problem_response(problem: RequestError) -> Response:
    """Return the whole answer."""
    return JSONResponse(error_object(problem), problem.status, headers=problem.headers)


def of_exception(error: Exception) -> RequestError:
    """Return what to answer where something went wrong, without telling what is nobody's business."""
    match error:
        case RequestError():
            return error
        case ContextError():
            return RequestError(400, str(error), param=error.param, code="context_length_exceeded")
        case SettingError():
            return RequestError(400, str(error), param=error.param, code="invalid_value")
        case TokenizerError() | DataError():
            return RequestError(400, str(error), param=error.param, code="invalid_text")
        case MemoryError():
            return RequestError(500, "there was not enough memory for this request; make it shorter")
        case InkfishError():
            return RequestError(500, "the model could not serve this request; the server's log says why")
    return RequestError(500, "the server made a mistake; its log says which")


def of_validation(errors: list[Any]) -> RequestError:
    """Return what to answer to a body that does not fit: its worst fault, named, the value left out."""
    fault = max(errors, key=closeness)
    names = [str(part) for part in fault["loc"][1:]]
    param = ".".join(name for name in names if name not in BRANCHES and name[:5] not in BRANCHES)
    param = param[:LONGEST_NAME]
    match fault["type"]:
        case "extra_forbidden":
            message, code = f"there is no parameter {param} here; leave it out", "unknown_parameter"
        case "none_required":
            message, code = f"GPT-2 can't serve {param}; leave it out", "unsupported_parameter"
        case "missing":
            message, code = f"{param or 'a body'} is missing", "missing_parameter"
        case _:
            said = str(fault["msg"])
            message, code = f"{param}: {said}" if param else said, "invalid_value"
    return RequestError(400, message, param=param or None, code=code)


def closeness(fault: Any) -> tuple[bool, int]:
    """Say how much a fault tells: of a value that may be of several kinds, the kind that it nearly is."""
    return not str(fault["type"]).endswith("_type"), len(fault["loc"])


def handle_errors(app: FastAPI) -> None:
    """Make an app answer every error in that shape."""

    async def validation(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError), "registered for these"
        return problem_response(of_validation(list(error.errors())))

    async def http(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException), "registered for these"
        message = {404: "there is nothing at this address", 405: "this address does not take this method"}
        headers = error.headers if error.status_code == 405 else None
        text = message.get(error.status_code, str(error.detail))
        return problem_response(RequestError(error.status_code, text, headers=headers))

    async def known(_request: Request, error: Exception) -> Response:
        return problem_response(of_exception(error))

    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestError, known)
    app.add_exception_handler(InkfishError, known)
    app.add_exception_handler(MemoryError, known)
    app.add_exception_handler(Exception, known)


def as_line(body: ErrorBody) -> str:
    """Return an error as one line of JSON, for a stream that has begun."""
    return json.dumps(body, ensure_ascii=False, allow_nan=False)
