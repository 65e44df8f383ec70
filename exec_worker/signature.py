"""The contract of a function: its signature as data, for processes that do not import it."""

import contextlib
import inspect
from typing import Any

import msgspec

from exec_worker.components import Components
from exec_worker.node import AnyFunction, NodeInfo, info_of
from exec_worker.reader import Signature, Taken, read, source_of
from ipc.contract import Body, NodeContract, Parameter, Result


def contract_of(
    function: AnyFunction,
    *,
    name: str,
    imported_from: str = "",
    components: Components | None = None,
    signature: Signature | None = None,
) -> NodeContract:
    """The contract of a node; ContractError if it cannot be one.

    The schemas it refers to go into `components`, which the nodes of one application share. Who has read the
    signature already may hand it in.
    """
    signature = signature or read(function, name=name)
    components = Components() if components is None else components
    info = info_of(function) or NodeInfo()
    summary, _, description = (inspect.getdoc(function) or "").partition("\n")
    result_schema: dict[str, Any] = {}
    if signature.codec is not None:
        result_schema = components.add(signature.codec, output=True)
    return NodeContract(
        name=name,
        stage=info.stage,
        parameters=tuple(
            Parameter(
                name=taken.name,
                required=taken.required,
                json_schema=_schema_of(taken, components),
                shape=taken.codec.shape(),
                many=taken.many,
            )
            for taken in signature.parameters
        ),
        body=None if signature.body is None else _body(signature.body, components),
        result=Result(kind=signature.result, json_schema=result_schema, media_type=signature.media_type),
        idempotent=info.idempotent,
        summary=summary.strip(),
        description=description.strip(),
        source=source_of(function),
        imported_from=imported_from,
        batch=info.batch,
        cancel=info.cancel,
        asynchronous=inspect.iscoroutinefunction(function),
    )


def _body(taken: Taken, components: Components) -> Body:
    return Body(
        name=taken.name,
        kind="bytes" if taken.raw else "json",
        required=taken.required,
        json_schema={} if taken.raw else _schema_of(taken, components),
        shape=None if taken.raw else taken.codec.shape(),
        media_type=taken.media_type,
    )


def _schema_of(taken: Taken, components: Components) -> dict[str, Any]:
    schema = components.add(taken.codec, output=False)
    if not taken.required:
        # A default without a plain form is still the function's; the document just does not show it.
        with contextlib.suppress(Exception):
            schema = {**schema, "default": taken.codec.plain(taken.default)}
    return schema


def disagreement(given: NodeContract, here: NodeContract) -> str | None:
    """What in a node's signature is not as it was described, or None. Texts and schemas may differ."""

    def essence(contract: NodeContract) -> dict[str, Any]:
        parts: dict[str, Any] = {
            f"parameter `{item.name}`": (item.required, item.many, item.shape) for item in contract.parameters
        }
        body, result = contract.body, contract.result
        parts["`async`"] = contract.asynchronous
        parts["the body"] = body and (body.name, body.kind, body.required, body.shape)
        parts["the result"] = (result.kind, result.media_type)
        parts["`batch`"] = contract.batch
        return parts

    # As they look after a way through msgpack, which has no tuples.
    before, now = (msgspec.msgpack.decode(msgspec.msgpack.encode(essence(item))) for item in (given, here))
    return next((part for part in [*before, *now] if before.get(part, 0) != now.get(part, 0)), None)
