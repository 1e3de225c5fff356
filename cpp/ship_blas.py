"""The OpenBLAS that ships with the package, from the scipy-openblas32 of the build environment.

ship_blas.py               prints its include directory, library and licence, separated by ';'
ship_blas.py SOURCE COPY   copies the library and gives the copy its new file name as soname
"""

import subprocess
import sys
from pathlib import Path


def find() -> str:
    from importlib.metadata import files

    import scipy_openblas32 as blas

    library = Path(blas.get_lib_dir(), blas.get_library(fullname=True))
    licence = next(f.locate() for f in files("scipy-openblas32") if f.name.startswith("LICENSE"))
    return ";".join(Path(path).as_posix() for path in (blas.get_include_dir(), library, licence))


def ship(source: Path, copy: Path) -> None:
    data = source.read_bytes()
    if sys.platform == "darwin":
        copy.write_bytes(data)
        subprocess.run(["install_name_tool", "-id", f"@rpath/{copy.name}", copy], check=True)
        subprocess.run(["codesign", "--force", "--sign", "-", copy], check=True)
        return
    # The soname stands in the dynamic string table: only a name of the same length fits there.
    old, new = (b"\0%s\0" % path.name.encode() for path in (source, copy))
    if data.count(old) != 1 or len(old) != len(new):
        sys.exit(
            f"ship_blas: {source} must hold its own name once and {copy.name} be as long; "
            f"got {data.count(old)} times, lengths {len(old) - 2} and {len(new) - 2}"
        )
    copy.write_bytes(data.replace(old, new))


if len(sys.argv) == 1:
    print(find(), end="")
else:
    Path(sys.argv[2]).parent.mkdir(parents=True, exist_ok=True)
    ship(Path(sys.argv[1]), Path(sys.argv[2]))
