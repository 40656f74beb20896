# SPDX-License-Identifier: Apache-2.0
"""The cable between host and a real adbd is cut, as a reset and as a black hole."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from cable import Cable

from lmk.device import stream as stream_module
from lmk.device import sync as sync_module
from lmk.device.direct import DirectDevice
from lmk.errors import TransientError

MIB = 1024 * 1024


@contextmanager
def fails(how: str) -> Iterator[None]:
    """A link that is cut so fails; of one that just goes silent that is noticed after a second."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        if how == "black_hole":
            patch.setattr(sync_module, "_STALL_S", 1.0)
            patch.setattr(stream_module, "_WRITE_TIMEOUT_S", 1.0)
        stack.enter_context(pytest.raises(TransientError))
        yield


@pytest.mark.parametrize("how", ["reset", "black_hole"])
def test_cut_in_a_transfer_is_an_error_and_the_next_one_is_whole(
    cable: Cable, how: str, tmp_path: Path
) -> None:
    content = bytes(range(256)) * (4 * MIB // 256)
    with DirectDevice("127.0.0.1", cable.port) as device:
        base = device.run("[ -d /data/local/tmp ] && echo /data/local/tmp || echo /tmp").text
        remote = f"{base.strip()}/lmk-cable-{uuid.uuid4().hex[:8]}"
        try:
            device.push(content, remote)
            cable.cut_after(MIB, how)
            with fails(how):
                device.pull(remote, tmp_path / "local")
            assert list(tmp_path.iterdir()) == []
            cable.mend()
            device.pull(remote, tmp_path / "local")
            assert (tmp_path / "local").read_bytes() == content

            def cut(done: int, _total: int) -> None:
                if done > MIB:
                    getattr(cable, how)()

            with fails(how):
                device.push(content, remote, progress=cut)
            cable.mend()
            device.push(content, remote)
            sink = io.BytesIO()
            device.pull(remote, sink)
            assert sink.getvalue() == content
        finally:
            cable.mend()
            device.run(f"rm -f {remote}")


@pytest.mark.parametrize("how", ["reset", "black_hole"])
def test_cut_in_a_command_and_in_a_stream_is_an_error_or_silence_and_the_device_comes_back(
    cable: Cable, how: str
) -> None:
    with DirectDevice("127.0.0.1", cable.port) as device:
        stream = device.open("exec:cat")
        stream.write(b"heard")
        assert stream.read(timeout=timedelta(seconds=30)) == b"heard"
        getattr(cable, how)()
        if how == "reset":
            with pytest.raises(TransientError):
                stream.read(timeout=timedelta(seconds=30))
        else:
            with pytest.raises(TimeoutError):  # silence: three heartbeats say more than one read
                stream.read(timeout=timedelta(seconds=0.2))
            with fails(how):
                stream.write(b"unheard")
        stream.close()
        with pytest.raises(TransientError):
            device.run("true", timeout=timedelta(seconds=1))
        cable.mend()
        assert device.run("echo back").text == "back\n"
