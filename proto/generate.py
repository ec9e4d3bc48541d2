"""Generates the Python modules of the protobuf contract, and proves that they and the contract are sound.

    python proto/generate.py             format the .proto files and write the modules beside them
    python proto/generate.py --check     fail if a module is not current, or if buf objects to a .proto file
    python proto/generate.py --baseline  promise the contract as it is: later checks compare with it (at a release)

For `cqc/assets/v1/asset.proto` there are `asset_pb2.py` and its types, `asset_pb2.pyi`; for a file with services there
are `…_pb2_grpc.py` and `…_pb2_grpc.pyi`, too. The types come from mypy-protobuf: they tell optional from required, keep
enums apart from numbers, and carry the comments of the .proto files as docstrings. What is generated depends on the
versions of grpcio-tools and mypy-protobuf alone, which constraints.txt pins.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

PROTO = Path(__file__).resolve().parent
ROOT = PROTO.parent
BASELINE = PROTO / "baseline.binpb"
NOT_PROMISED = PROTO / "cqi" / "testing"  # buf.yaml says why
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")

# A servicer may leave methods out (they answer UNIMPLEMENTED), so its generated base is not abstract.
MYPY_GRPC_OPTIONS = "quiet,generate_concrete_servicer_stubs"


class Problem(Exception):
    """Something that a person has to mend; its text says what and how."""


def program(name: str) -> str:
    """The path of an installed program: that of this interpreter's environment, else the one on the PATH."""
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if found is None:
        raise Problem(f"{name} is not installed; `make setup` installs it (dependency group `proto`)")
    return found


def run_protoc(arguments: Iterable[str]) -> None:
    """Runs protoc over files under proto/; it writes its own complaints to stderr."""
    well_known = resources.files("grpc_tools") / "_proto"
    if protoc.main(["protoc", f"-I{PROTO}", f"-I{well_known}", *arguments]) != 0:
        raise Problem("protoc could not compile the files; its messages are above")


def compile_into(target: Path) -> None:
    """Generates all modules into a folder, laid out as under proto/."""
    sources = sorted(path.relative_to(PROTO).as_posix() for path in PROTO.rglob("*.proto"))
    if not sources:
        raise Problem(f"there are no .proto files in {PROTO}")
    with tempfile.TemporaryDirectory() as scratch:
        image = Path(scratch) / "image.binpb"
        run_protoc(
            [
                f"--plugin=protoc-gen-mypy={program('protoc-gen-mypy')}",
                f"--descriptor_set_out={image}",
                f"--python_out={target}",
                f"--mypy_out=quiet:{target}",
                *sources,
            ]
        )
        files = FileDescriptorSet.FromString(image.read_bytes()).file
    # Without this selection every file gets a _pb2_grpc module that holds nothing.
    if with_services := [file.name for file in files if file.service]:
        run_protoc(
            [
                f"--plugin=protoc-gen-mypy_grpc={program('protoc-gen-mypy_grpc')}",
                f"--grpc_python_out={target}",
                f"--mypy_grpc_out={MYPY_GRPC_OPTIONS}:{target}",
                *with_services,
            ]
        )


def generated_in(folder: Path) -> dict[str, bytes]:
    """The generated modules in a folder, by their path in it."""
    paths = {path for pattern in GENERATED for path in folder.rglob(pattern)}
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(paths)}


def fresh() -> dict[str, bytes]:
    """The generated modules as they should be."""
    with tempfile.TemporaryDirectory() as target:
        compile_into(Path(target))
        return generated_in(Path(target))


def generate() -> None:
    """Formats the .proto files, writes the modules that changed, and removes those whose .proto file is gone."""
    buf("format", "--write", otherwise="mend the .proto file")
    wanted, present = fresh(), generated_in(PROTO)
    for name, content in wanted.items():
        if present.get(name) != content:
            (PROTO / name).write_bytes(content)
    for name in present.keys() - wanted.keys():
        (PROTO / name).unlink()
    changed = sum(present.get(name) != content for name, content in wanted.items())
    print(f"proto: {len(wanted)} modules, {changed} written, {len(present.keys() - wanted.keys())} removed")


def check_current() -> None:
    """Raises Problem with the names of all modules that are not what the .proto files say."""
    wanted, present = fresh(), generated_in(PROTO)
    faults = [f"stale: proto/{name}" for name in wanted if name in present and present[name] != wanted[name]]
    faults += [f"missing: proto/{name}" for name in wanted if name not in present]
    faults += [
        f"left over (its .proto file or service is gone): proto/{name}" for name in present.keys() - wanted.keys()
    ]
    if faults:
        listed = "\n".join(f"  {fault}" for fault in sorted(faults))
        raise Problem(f"generated modules are not current:\n{listed}\nrun `make proto` and commit the result")


def buf(*arguments: str, otherwise: str) -> None:
    """Runs buf; when it objects, raises Problem with what it says and what to do."""
    done = subprocess.run([program("buf"), *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = "\n".join(f"  {line}" for line in (done.stdout + done.stderr).strip().splitlines())
        raise Problem(f"`buf {' '.join(arguments)}` objects:\n{said}\n{otherwise}")


def check_format() -> None:
    """Raises Problem if a .proto file is not formatted."""
    buf("format", "--diff", "--exit-code", otherwise="run `make proto` and commit the result")


def check_lint() -> None:
    """Raises Problem if a .proto file breaks a rule of buf.yaml."""
    buf("lint", otherwise="mend the .proto file; an exception belongs in buf.yaml, with its reason")


def check_breaking() -> None:
    """Raises Problem if the contract takes back what the baseline promises."""
    if not BASELINE.exists():
        raise Problem(f"{BASELINE.relative_to(ROOT)} is missing; restore it from version control")
    buf(
        "breaking",
        "--against",
        str(BASELINE.relative_to(ROOT)),
        otherwise="services that are running speak the contract as it was: add fields and messages instead",
    )


def check() -> None:
    """Makes every check and raises Problem with all that was found."""
    problems = []
    for one in (check_current, check_format, check_lint, check_breaking):
        try:
            one()
        except Problem as problem:
            problems.append(str(problem))
    if problems:
        raise Problem("\n\n".join(problems))
    print("proto: generated modules are current, style is right, nothing promised is broken")


def write_baseline() -> None:
    """Makes the contract as it is the one that later checks compare with."""
    buf(
        "build",
        "--exclude-source-info",
        "--exclude-path",
        str(NOT_PROMISED.relative_to(ROOT)),
        "--output",
        str(BASELINE.relative_to(ROOT)),
        otherwise="mend the .proto file",
    )
    print(f"proto: {BASELINE.relative_to(ROOT)} holds the contract as it is now")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one of the three modes; the exit code is 0, or 1 with the problems on stderr."""
    parser = argparse.ArgumentParser(prog="generate.py", description="Generate the Python modules of proto/.")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="change nothing; fail if something is stale or unsound")
    mode.add_argument("--baseline", action="store_true", help="promise the contract as it is (at a release)")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.check:
            check()
        elif chosen.baseline:
            write_baseline()
        else:
            generate()
    except Problem as problem:
        print(f"proto: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
