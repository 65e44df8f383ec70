"""One node, ready to be called: from a request's bytes to arguments, and from the result back to bytes."""

# ruff: noqa: ANN401 - these are values of types that are known only at run time

from collections.abc import Callable
from typing import Any, NoReturn

import msgspec
from msgspec import UNSET, Struct

from exec_worker.annotations import JSON as JSON_TYPE
from exec_worker.annotations import is_json
from exec_worker.codec import MsgspecCodec, PydanticCodec, name_of
from exec_worker.node import AnyFunction, Response
from exec_worker.reader import OCTETS, Signature, Taken, read
from exec_worker.together import run_together
from ipc.contract import NodeContract
from ipc.decoding.msgpacked import inspect_msgpack
from ipc.errors import BadResult, InvalidRequest, IpcError
from ipc.messages.calls import Encoding

NONE, RAW, JSON, MSGPACK = (int(each) for each in Encoding)
Buffer = bytes | bytearray | memoryview | msgspec.Raw
_NO_PARAMETERS = b"\x80"
"""An empty map."""
_IMMUTABLE = (bool, int, float, str, bytes, type(None))


class Encoded(Struct, frozen=True, gc=False):
    """A result as it travels. `status` 0 leaves it to the endpoint."""

    encoding: int
    status: int
    media_type: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Binding:
    """A function and its contract. Decoders and encoders are made here once; a call only runs them."""

    def __init__(self, function: AnyFunction, contract: NodeContract, signature: Signature | None = None) -> None:
        signature = signature or read(function, name=contract.name)
        self.function = function
        self.contract = contract
        self._read_parameters = _parameters_decoder(signature.parameters)
        self._late = [(item.name, item.codec.convert) for item in signature.parameters if _is_late(item)]
        self._body = signature.body
        self._body_name = signature.body.name if signature.body else ""
        self._readers = _body_readers(signature.body)
        self._kind = signature.result
        self._media_type = signature.media_type
        self._to_json, self._to_msgpack = (
            (_anything.to_json, _anything.to_msgpack)
            if signature.codec is None
            else (signature.codec.to_json, signature.codec.to_msgpack)
        )

    def decode(self, params: Buffer, encoding: int, body: Buffer) -> dict[str, Any]:
        """The function's arguments; InvalidRequest, and nothing else, if they are not what it declares."""
        try:
            if len(params := params or _NO_PARAMETERS) > 1:
                inspect_msgpack(params)
            kwargs = msgspec.structs.asdict(self._read_parameters(params))
            if self._late:
                self._convert_late(kwargs)
        except InvalidRequest:
            raise
        except Exception as error:
            raise InvalidRequest(_about_parameters(error)) from error
        try:
            if encoding:
                kwargs[self._body_name] = self._readers[encoding](body)
            elif self._body is not None:
                kwargs[self._body_name] = self._default_body(self._body)
        except InvalidRequest:
            raise
        except Exception as error:
            raise InvalidRequest(self._about_body(encoding, error)) from error
        return kwargs

    def run(self, kwargs: dict[str, Any]) -> Any:
        """What the function returns; whatever it raises comes through."""
        if self.contract.batch is None:
            return self.function(**kwargs)
        (result,) = run_together(self.contract.name, self.run_batch, [self.item(kwargs)], _not_again)
        if isinstance(result, BaseException):
            raise result
        return result

    def item(self, kwargs: dict[str, Any]) -> Any:
        """What one call of a node that takes a list stands for."""
        return kwargs[self._body_name]

    def run_batch(self, items: list[Any]) -> Any:
        """The same for a node that takes a list: `items` are the bodies of the calls that run together."""
        return self.function(**{self._body_name: items})

    def encode(self, result: Any, reply_as: int) -> Encoded:
        """The result as it travels; BadResult if it is not what is declared, or cannot be encoded."""
        try:
            if self._kind == "json":
                if isinstance(result, bytes | bytearray | memoryview | Response):
                    self._refuse(result, "a value that is sent as JSON is declared")
                if reply_as == MSGPACK:
                    return Encoded(MSGPACK, 0, "", (), self._to_msgpack(result))
                return Encoded(JSON, 0, self._media_type, (), self._to_json(result))
            if self._kind == "bytes":
                return Encoded(RAW, 0, self._media_type, (), self._flat(result))
            return self._encode_response(result, reply_as)
        except IpcError:
            raise
        except Exception as error:
            raise BadResult(
                f"{self.contract.name} returned {name_of(type(result))}, which cannot be encoded: {_brief(error)}"
            ) from error

    def _flat(self, result: Any) -> bytes:
        """Bytes as one run, which a view of an array need not be."""
        if type(result) is bytes:
            return result
        if not isinstance(result, bytes | bytearray | memoryview):
            self._refuse(result, "`bytes` are declared")
        return bytes(result)

    def _encode_response(self, result: Any, reply_as: int) -> Encoded:
        if not isinstance(result, Response):
            self._refuse(result, "a `Response` is declared")
        body, media_type = result.body, result.media_type
        headers = tuple(result.headers.items())
        if isinstance(body, bytes | bytearray | memoryview):
            return Encoded(RAW, result.status, media_type or OCTETS, headers, self._flat(body))
        if isinstance(body, str) and media_type is not None and not is_json(media_type):
            return Encoded(RAW, result.status, media_type, headers, body.encode())
        if reply_as == MSGPACK and media_type is None:
            return Encoded(MSGPACK, result.status, "", headers, self._to_msgpack(body))
        return Encoded(JSON, result.status, media_type or JSON_TYPE, headers, self._to_json(body))

    def _refuse(self, result: Any, declared: str) -> NoReturn:
        raise BadResult(f"{self.contract.name} returned {name_of(type(result))}, but {declared}")

    def _default_body(self, body: Taken) -> Any:
        if body.required:
            raise InvalidRequest(f"The request has no body, and `{body.name}` is required")
        return body.default

    def _convert_late(self, kwargs: dict[str, Any]) -> None:
        for name, convert in self._late:
            if kwargs[name] is UNSET:
                del kwargs[name]
                continue
            try:
                kwargs[name] = convert(kwargs[name])
            except msgspec.ValidationError as error:
                raise InvalidRequest(_located(str(error), name)) from error

    def _about_body(self, encoding: int, error: Exception) -> str:
        if encoding in self._readers:
            return _brief(error)
        if self._body is None:
            return "The request has a body, and no parameter takes one"
        return f"The body, `{self._body_name}`, has to be {'raw bytes' if self._body.raw else 'JSON'}"


def _not_again(_place: int, _error: BaseException) -> None:
    """A batch of one fails as one."""


_anything = MsgspecCodec(Any)
"""Encodes the body of a `Response`, of which no type is known."""


def _is_late(item: Taken) -> bool:
    """Whether the parameter is checked after msgspec has read the others."""
    return isinstance(item.codec, PydanticCodec)


def _parameters_decoder(parameters: tuple[Taken, ...]) -> Callable[[Buffer], Struct]:
    """Decodes the map of parameters in one go, with the function's defaults for what is not in it."""
    fields: list[Any] = []
    for item in parameters:
        kind = Any if _is_late(item) else item.kind
        if item.required:
            fields.append((item.name, kind))
        elif _is_late(item):
            fields.append((item.name, kind, UNSET))
        elif isinstance(item.default, _IMMUTABLE):
            fields.append((item.name, kind, item.default))
        else:
            # The function's own default, the same object in each call, as Python has it.
            fields.append((item.name, kind, msgspec.field(default_factory=_constant(item.default))))
    struct = msgspec.defstruct("Parameters", fields, forbid_unknown_fields=True, kw_only=True)
    return msgspec.msgpack.Decoder(struct, strict=False).decode


def _constant(value: Any) -> Callable[[], Any]:
    return lambda: value


def _body_readers(body: Taken | None) -> dict[int, Callable[[Any], Any]]:
    """What reads the body, by its encoding."""
    if body is None:
        return {}
    if not body.raw:
        return {JSON: body.codec.from_json, MSGPACK: body.codec.from_msgpack}
    check = body.codec.convert

    def take(data: Any) -> Any:
        return check(data if type(data) is bytes else bytes(data))

    return {RAW: take}


def _about_parameters(error: Exception) -> str:
    """The sentence a web worker has for the same fault: clients see no difference in where it was found."""
    told = _brief(error).replace("Object missing required field", "Missing parameter")
    return told.replace("Object contains unknown field", "Unknown parameter")


def _located(told: str, name: str) -> str:
    return told.replace("`$", f"`$.{name}") if "`$" in told else f"{told} - at `$.{name}`"


def _brief(error: Exception) -> str:
    """What went wrong; only the name of what validators and serializers raise beside what they are meant to."""
    if isinstance(error, msgspec.DecodeError | TypeError | ValueError | OverflowError | RecursionError):
        return str(error)
    return type(error).__name__
