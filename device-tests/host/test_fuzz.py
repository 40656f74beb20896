# SPDX-License-Identifier: Apache-2.0
"""Fuzz targets build without libFuzzer, and take what their corpus holds."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from lmk.build.compiler import host_compiler
from lmk.build.sources import source_root

_FUZZ = Path(__file__).parent.parent / "fuzz"


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("fuzz") / "lmkd_packet"
    agent = source_root() / "bpf" / "agent"
    sources = [agent / "lmkd_packet.c", agent / "lmkd_registry.c"]
    sources += [_FUZZ / "lmkd_packet_fuzz.c", _FUZZ / "replay.c"]
    command = [host_compiler(), "-std=gnu11", "-O1", "-g", "-D_GNU_SOURCE", "-Wall", "-Wextra"]
    command += ["-Werror", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command += ["-DLMKD_RECORDS=24", "-DLMKD_BUCKETS=8", f"-I{agent}"]
    subprocess.run([*command, *map(str, sources), "-o", str(output)], check=True, timeout=120)
    return output


def test_the_corpus_of_lmkds_packets_is_taken(replay: Path) -> None:
    corpus = sorted((_FUZZ / "corpus" / "lmkd_packet").iterdir())
    assert len(corpus) >= 10
    subprocess.run([replay, *corpus], check=True, timeout=60)


def test_changed_conversations_are_taken(replay: Path, tmp_path: Path) -> None:
    source = random.Random(6)
    corpus = [path.read_bytes() for path in sorted((_FUZZ / "corpus" / "lmkd_packet").iterdir())]
    files = []
    for number in range(500):
        data = bytearray(b"".join(source.choices(corpus, k=3)))
        for _ in range(source.randrange(8)):
            data[source.randrange(len(data))] = source.randrange(256)
        files.append(tmp_path / str(number))
        files[-1].write_bytes(data)
    subprocess.run([replay, *files], check=True, timeout=60)
