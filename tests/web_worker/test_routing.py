from hypothesis import given
from hypothesis import strategies as st

from web_worker.routing import Found, Table


def test_an_exact_path_is_found_by_its_method() -> None:
    table: Table[str] = Table()
    table.add("/a", ("GET",), "get")
    table.add("/a", ("POST", "PUT"), "write")
    assert table.find("GET", "/a") == Found("get", None, ("GET", "POST", "PUT"))
    assert table.find("PUT", "/a") == Found("write", None, ("GET", "POST", "PUT"))
    assert table.find("DELETE", "/a") == Found(None, None, ("GET", "POST", "PUT"))
    assert table.find("GET", "/a/") is None
    assert table.find("GET", "/A") is None


def test_a_pattern_gives_its_values() -> None:
    table: Table[str] = Table()
    table.add("/users/{user}/files/{name:path}", ("GET",), "file")
    found = table.find("GET", "/users/a b/files/x/y.txt")
    assert found is not None
    assert (found.endpoint, found.values) == ("file", {"user": "a b", "name": "x/y.txt"})
    assert table.find("GET", "/users//files/x") is None
    assert table.find("GET", "/users/a/b/files/x") is None


def test_exact_comes_before_patterns_whatever_the_order() -> None:
    table: Table[str] = Table()
    table.add("/{name}", ("GET",), "any")
    table.add("/me", ("GET",), "me")
    assert table.find("GET", "/me") == Found("me", None, ("GET",))
    assert table.find("GET", "/you") == Found("any", {"name": "you"}, ("GET",))


def test_of_two_patterns_the_one_that_takes_the_method_answers() -> None:
    table: Table[str] = Table()
    table.add("/{name}", ("GET",), "read")
    table.add("/{id}", ("POST",), "write")
    assert table.find("POST", "/x") == Found("write", {"id": "x"}, ("POST",))
    assert table.find("PUT", "/x") == Found(None, None, ("GET", "POST"))


def test_what_is_reserved_is_the_apps() -> None:
    table: Table[str] = Table()
    table.add("/{name}", ("GET",), "any")
    table.add("/{a}/{b}", ("GET",), "two")
    table.add("/static/x", ("GET",), "exact")
    table.reserve("/hello")
    table.reserve_below("/static")
    assert table.find("GET", "/hello") == Found(None, None, ())
    assert table.find("GET", "/static/y") is None
    assert table.find("GET", "/static/x") == Found("exact", None, ("GET",))
    assert table.find("GET", "/statics/y") == Found("two", {"a": "statics", "b": "y"}, ("GET",))


@given(st.text(max_size=20), st.text(max_size=10))
def test_no_path_or_method_breaks_it(path: str, method: str) -> None:
    table: Table[str] = Table()
    table.add("/{name}", ("GET",), "any")
    table.add("/a/{rest:path}", ("GET",), "rest")
    found = table.find(method, path)
    assert found is None or found.endpoint is None or method == "GET"
