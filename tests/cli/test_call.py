"""What `shunter call` sends and how it shows what comes back."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import pytest

import cli.call
from cli.call import call
from ipc.control import NoAnswer, NotRunning
from ipc.messages.control import MAX_ASKED, Called, CallNode, Refused

if TYPE_CHECKING:
    from pathlib import Path

JSON = Called(media_type="application/json")
IMAGE = Called(media_type="image/webp")


class Service:
    """Keeps what it was asked, and answers the same to everything."""

    def __init__(self) -> None:
        self.asked: list[tuple[CallNode, bytes, bytes | None]] = []
        self.answer: Called | Refused | BaseException = JSON
        self.result = b"null"

    def call(
        self, _state: Path, order: CallNode, arguments: bytes, body: bytes | None
    ) -> tuple[Called | Refused, bytes]:
        self.asked.append((order, arguments, body))
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer, self.result


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    made = Service()
    monkeypatch.setattr(cli.call, "ask", made.call)
    return made


def run(state: Path, arguments: str = "{}", *, body: str = "", output: str = "") -> int:
    return call(state, "shop.double", arguments, body=body, output=output, timeout=3.0)


def test_parameters_come_from_the_line_or_from_standard_input(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    service.result = b'{"a":[1,2]}'
    assert run(tmp_path, '{"number": 4}') == 0
    assert capsys.readouterr().out == '{\n  "a": [\n    1,\n    2\n  ]\n}\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"number": 5}\n')))
    (tmp_path / "body").write_bytes(b"\x00\xff")
    assert run(tmp_path, "-", body=str(tmp_path / "body")) == 0
    assert service.asked == [
        (CallNode("shop.double", 3.0, 13), b'{"number": 4}', None),
        (CallNode("shop.double", 3.0, 14, 2), b'{"number": 5}\n', b"\x00\xff"),
    ]


def test_standard_input_is_read_once_and_not_without_end(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "-", body="-") == 2
    assert "cannot both come from standard input" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b" " * (MAX_ASKED + 9))))
    assert run(tmp_path, "-") == 2
    assert sys.stdin.buffer.read() == b" " * 8
    assert "at most" in capsys.readouterr().err
    assert not service.asked


@pytest.mark.parametrize("arguments", ["", "[1]", "{", "4", '{"a": 1, "a": 2}', "{" + "[" * 9999])
def test_what_is_no_object_is_wrong_usage(service: Service, tmp_path: Path, arguments: str) -> None:
    assert run(tmp_path, arguments) == 2
    assert not service.asked


def test_a_body_that_is_not_there_or_too_large_is_wrong_usage(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, body=str(tmp_path / "none")) == 2
    (tmp_path / "large").write_bytes(bytes(MAX_ASKED + 1))
    assert run(tmp_path, body=str(tmp_path / "large")) == 2
    assert "at most" in capsys.readouterr().err
    assert not service.asked


def test_bytes_go_to_a_file_or_a_pipe_and_to_a_terminal_only_if_told_so(
    service: Service, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    service.answer, service.result = IMAGE, b"RIFF\x1b[2J\xff"
    assert run(tmp_path, output=str(tmp_path / "out")) == 0
    assert (tmp_path / "out").read_bytes() == service.result
    assert run(tmp_path) == 0
    assert capfdbinary.readouterr().out == service.result
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert run(tmp_path) == 1
    out, err = capfdbinary.readouterr()
    assert not out
    assert b"9 bytes of image/webp" in err
    assert run(tmp_path, output="-") == 0
    assert capfdbinary.readouterr().out == service.result
    assert run(tmp_path, output=str(tmp_path / "no" / "where")) == 1
    service.answer, service.result = Called(media_type="text/plain; charset=utf-8"), b"one\n\x1b[2Jtwo"
    assert run(tmp_path) == 0
    assert capfdbinary.readouterr().out == b"one\n\\x1b[2Jtwo\n"
    service.answer, service.result = JSON, '["\x9b2J\x7f\N{SNOWMAN}"]'.encode()
    assert run(tmp_path) == 0
    assert capfdbinary.readouterr().out == '[\n  "\\u009b2J\\u007f\N{SNOWMAN}"\n]\n'.encode()


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (
            Called(code="node_error", detail="it\x1b[2J raised", request_id="ab12"),
            1,
            "node_error: it\\x1b[2J raised (request_id ab12)",
        ),
        (Called(code="stage_unreached", stage="shop.second"), 1, "stage_unreached at shop.second"),
        (Called(status=404, media_type="application/json"), 1, "status 404"),
        (Called(status=201, media_type="application/json"), 0, "status 201"),
        (Called(status=200, media_type="application/json"), 0, ""),
        (Refused("there is no node 'x'; did you mean 'y'?", usage=True), 2, "did you mean"),
        (Refused("4 calls are under way already"), 1, "under way"),
        (NotRunning("nothing runs for /srv"), 3, "nothing runs"),
        (NoAnswer("the supervisor left"), 1, "the supervisor left"),
        (KeyboardInterrupt(), 1, "cancelled"),
    ],
)
def test_what_went_wrong_is_said_with_its_code(
    service: Service,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    answer: Called | Refused | BaseException,
    code: int,
    said: str,
) -> None:
    service.answer = answer
    assert run(tmp_path) == code
    assert said in capsys.readouterr().err


def test_what_says_that_it_is_json_and_is_not_is_passed_on_as_it_is(
    service: Service, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    service.result = b"{nonsense"
    assert run(tmp_path) == 0
    assert capfdbinary.readouterr().out == b"{nonsense"
