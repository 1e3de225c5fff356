"""Sizes in bytes as users write them."""

import pytest
import wengert as wg
from wengert import byte_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (0, 0),
        (4096, 4096),
        ("4096", 4096),
        ("64MB", 64 * 10**6),
        (" 64 mb ", 64 * 10**6),
        ("1.5GiB", 3 * 2**29),
        (".5KiB", 512),
        ("1_000kB", 10**6),
        ("2TB", 2 * 10**12),
        ("3TiB", 3 * 2**40),
        ("0.1B", 0),
        ("4.35KB", 4350),
    ],
)
def test_sizes(text, expected):
    assert byte_size.parse("here", text) == expected


@pytest.mark.parametrize(
    "text", ["", "MB", "64 XB", "-1MB", "1e6", "64MB extra", "6٤MB", "1..5MB", "IB", "5IB", "_1MB"]
)
def test_what_is_no_size(text):
    with pytest.raises(wg.ArgumentError, match="here: takes a size such as"):
        byte_size.parse("here", text)


@pytest.mark.parametrize("value", [None, 1.5, True, b"64MB", [64]])
def test_wrong_types(value):
    with pytest.raises(wg.ArgumentTypeError, match="here: takes bytes"):
        byte_size.parse("here", value)
    with pytest.raises(wg.ArgumentError, match=r"from 0 to .*; got -1"):
        byte_size.parse("here", -1)
    with pytest.raises(wg.ArgumentError, match="got an int of 16610 bits"):
        byte_size.parse("here", "9" * 5000)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1000, "1 kB"), (123456, "123.5 kB"), (64 * 10**9, "64 GB")]
)
def test_shown(size, text):
    assert byte_size.show(size) == text


@pytest.mark.parametrize("size", [2**63, "99999999999999999TB"])
def test_sizes_fit_the_machine(size):
    with pytest.raises(wg.ArgumentError, match=r"2\*\*63"):
        byte_size.parse("here", size)
