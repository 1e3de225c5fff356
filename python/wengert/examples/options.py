"""Types of command-line options that the examples share."""

import argparse
from pathlib import Path


def picture_path(text: str) -> Path:
    path = Path(text)
    if path.suffix not in (".pdf", ".png", ".svg"):
        raise argparse.ArgumentTypeError(f"must end in .png, .pdf or .svg; got '{text}'")
    existed = path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot write '{text}': {error.strerror}") from None
    if not existed:
        path.unlink()
    return path


def positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1; got {text}")
    return int(text)
