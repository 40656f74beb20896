# SPDX-License-Identifier: Apache-2.0
"""Bundles: what is in them, that they are the same twice, and what a failed build says."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmk import build
from lmk.build import compiler
from lmk.build.bundle import Bundle, pack
from lmk.build.programs import read_programs
from lmk.build.recipe import ABIS
from lmk.build.sources import source_root
from lmk.cache import cache_root
from lmk.errors import LmkError, ProtocolError, UnsupportedError, UsageError

ELF_MACHINES = {"x86_64": 62, "aarch64": 183}
HANDLERS = {"lmk.bpf.o", "assisted.bpf.o"}
NAMES = {"lmk-agent", "lmk-loader", "lmk-eater", "lmk-population", "lmk-bench", *HANDLERS}
#: GKI has no FUNCTION_TRACER, and LSM programs are off on most kernels.
NEVER = ("fentry", "fexit", "fmod_ret", "kprobe.multi", "kretprobe.multi", "kprobe.session", "lsm")


@pytest.fixture(scope="module", autouse=True)
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The sources as they are now: whoever edits them meanwhile changes no result here."""
    copy = tmp_path_factory.mktemp("frozen")
    for part in ("bpf", "proto"):
        shutil.copytree(source_root() / part, copy / part)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "source_root", lambda: copy)
        yield copy


@pytest.fixture(scope="module")
def bundle(frozen: Path) -> Bundle:
    return build.build()


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with nothing built; downloads stay where they are."""
    root = tmp_path / "cache"
    root.mkdir()
    monkeypatch.setattr(compiler, "cache_root", lambda: root)
    monkeypatch.setattr(build, "cache_root", lambda: root)
    return root


@pytest.fixture
def sources(frozen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sources, to change."""
    copy = tmp_path / "sources"
    shutil.copytree(frozen, copy)
    monkeypatch.setattr(build, "source_root", lambda: copy)
    return copy


def test_a_bundle_has_every_program_for_both_abis(bundle: Bundle) -> None:
    assert set(bundle.abis) == set(ABIS)
    for abi in bundle.abis:
        files = {file.name: file for file in bundle.files(abi)}
        assert set(files) == NAMES
        for name in NAMES - HANDLERS:
            image = files[name].content
            assert image[:6] == b"\x7fELF\x02\x01"
            assert int.from_bytes(image[18:20], "little") == ELF_MACHINES[abi]
            # Static: no interpreter to be missing on the device.
            assert b"/ld-linux" not in image
            assert files[name].mode == 0o700


@pytest.mark.parametrize("name", sorted(HANDLERS))
def test_the_handlers_are_one_object_for_all_abis(bundle: Bundle, name: str) -> None:
    assert len({bundle.file(abi, name).sha256 for abi in bundle.abis}) == 1


def test_the_handlers_have_no_program_that_gki_refuses(bundle: Bundle) -> None:
    programs = bundle.programs
    assert programs
    for program in programs:
        assert program.kind.removesuffix(".s") not in NEVER, program
        assert program.type in ("SYSCALL", "TRACING", "RAW_TRACEPOINT", "TRACEPOINT"), program
        if program.type == "TRACING":
            assert program.kind in ("tp_btf", "iter", "iter.s"), program


def test_the_manifest_names_the_programs_of_the_object(bundle: Bundle) -> None:
    assert [entry["name"] for entry in bundle.manifest["programs"]] == [
        program.name for program in bundle.programs
    ]


def test_nothing_of_this_machine_is_in_a_bundle(bundle: Bundle) -> None:
    for abi in bundle.abis:
        for file in bundle.files(abi):
            for trace in (str(cache_root()), "lmk-build-", str(source_root())):
                assert trace.encode() not in file.content, f"{file.name}: {trace}"


def test_building_again_elsewhere_gives_the_same_bytes(
    bundle: Bundle, fresh_cache: Path, sources: Path
) -> None:
    again = build.build()
    assert again.path.read_bytes() == bundle.path.read_bytes()


def test_a_second_build_compiles_nothing(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "_run", lambda *_: pytest.fail("a compiler ran"))
    assert build.build().path == bundle.path
    one = build.cached("x86_64")
    assert one is None or one.build_id("x86_64") == bundle.build_id("x86_64")


def test_one_abi_has_the_build_id_that_it_has_among_all(bundle: Bundle) -> None:
    assert build.build(["aarch64"]).build_id("aarch64") == bundle.build_id("aarch64")


def test_a_change_of_the_decision_core_changes_the_build_id(bundle: Bundle, sources: Path) -> None:
    header = sources / "bpf/policy/decide.h"
    text = header.read_text()
    header.write_text(
        text.replace("#define LMK_FLOOR_NOBODY 1001", "#define LMK_FLOOR_NOBODY 1000")
    )
    assert header.read_text() != text
    assert build.build(["x86_64"]).build_id("x86_64") != bundle.build_id("x86_64")


def test_a_changed_comment_does_not_change_the_build_id_of_programs(
    bundle: Bundle, sources: Path
) -> None:
    readme = sources / "bpf/agent/README.md"
    readme.write_text("other words")
    assert build.build(["x86_64"]).build_id("x86_64") == bundle.build_id("x86_64")


def test_a_compile_error_is_one_line_with_the_compilers_output_kept(sources: Path) -> None:
    broken = sources / "bpf/workload/memory.c"
    broken.write_text(broken.read_text() + "\nint broken(void) { return nonsense; }\n")
    with pytest.raises(LmkError, match=r"bpf/workload/memory\.c.*nonsense") as raised:
        build.build(["x86_64"])
    assert "\n" not in str(raised.value)
    assert "undeclared" in raised.value.detail


def test_missing_compilers_are_named_with_one_command_that_installs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiler, "_which", lambda _name: None)
    monkeypatch.setattr("lmk.build.compiler.platform.machine", lambda: "x86_64")
    with pytest.raises(UsageError) as raised:
        build.build()
    assert (
        "apt-get install clang gcc gcc-aarch64-linux-gnu libc6-dev libc6-dev-arm64-cross llvm"
        in str(raised.value)
    )
    assert "--bundle FILE" in str(raised.value)


def test_an_unknown_abi_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"no such ABI: riscv64; one of x86_64, aarch64"):
        build.build(["riscv64"])


def test_a_bundle_is_written_where_it_is_wanted(bundle: Bundle, tmp_path: Path) -> None:
    output = tmp_path / "my.bundle"
    assert build.build(output=output).path == output
    assert output.read_bytes() == bundle.path.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["my.bundle"]


def test_a_bundle_that_cannot_be_written_is_a_usage_error(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        build.build(output=tmp_path / "no" / "such" / "place")


# -- reading bundles ---------------------------------------------------------------------------


def test_a_bundle_for_another_abi_says_how_to_build_one(bundle: Bundle) -> None:
    with pytest.raises(UnsupportedError, match=r"lmk build --abi riscv64"):
        bundle.files("riscv64")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nothing", b"\x7fELF" + b"\0" * 100])
def test_a_foreign_file_is_no_bundle(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "foreign"
    path.write_bytes(content)
    with pytest.raises(ProtocolError, match="is not an lmk bundle"):
        build.open_bundle(path)


def test_a_missing_bundle_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the bundle"):
        build.open_bundle(tmp_path / "nothing")


def test_a_bundle_with_an_exchanged_program_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "forged"
    with zipfile.ZipFile(bundle.path) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"other" if name == "x86_64/lmk-agent" else old.read(name))
    with pytest.raises(ProtocolError, match="damaged: lmk-agent"):
        build.open_bundle(path)


def test_a_bundle_of_another_schema_says_so(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "newer"
    with zipfile.ZipFile(path, "w") as new:
        new.writestr("manifest.json", json.dumps({**bundle.manifest, "schema": 99}))
    with pytest.raises(ProtocolError, match="schema 99"):
        build.open_bundle(path)


def test_packing_is_a_function_of_its_input(bundle: Bundle) -> None:
    files = {file.name: file.content for file in bundle.files("x86_64")}
    handlers = {name: files.pop(name) for name in sorted(HANDLERS)}
    programs = {"x86_64": files}
    assert pack(handlers, programs, "1") == pack(handlers, programs, "1")
    with zipfile.ZipFile(io.BytesIO(pack(handlers, programs, "1"))) as packed:
        assert packed.namelist()[0] == "manifest.json"


def test_a_file_that_is_no_bpf_object_has_no_programs(bundle: Bundle) -> None:
    with pytest.raises(ProtocolError, match="not a little-endian BPF object"):
        read_programs(bundle.file("x86_64", "lmk-agent").content)
    with pytest.raises(ProtocolError, match="damaged BPF object"):
        read_programs(bundle.file("x86_64", "lmk.bpf.o").content[:900])
