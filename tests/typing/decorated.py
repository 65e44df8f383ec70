"""Only has to type-check: the decorator leaves signatures as they are."""

from typing import Annotated, assert_type

from exec_worker import Response, current, node


@node
def bare(image: bytes, width: int = 256) -> Annotated[bytes, "image/webp"]:
    return image[:width]


@node(stage="heavy", idempotent=True)
def told(word: str, *, times: int = 2) -> list[str]:
    return [word] * times


@node()
def empty() -> Response:
    return Response({"left": current().remaining()}, 201, "application/json", {"X-A": "b"})


assert_type(bare(b"x", 3), bytes)
assert_type(bare(image=b"x"), bytes)
assert_type(told("x", times=3), list[str])
assert_type(empty(), Response)
assert_type(current().deadline, float)

bare("x")  # type: ignore[arg-type]
bare(b"x", height=3)  # type: ignore[call-arg]
told("x", 3)  # type: ignore[call-arg]
node(stage=3)(told)  # type: ignore[call-overload]
node(told, stage="x")  # type: ignore[call-overload]
node(3)  # type: ignore[call-overload]
