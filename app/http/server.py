"""How bytes become requests: uvicorn's own protocol, with an end to what it gathers before there is a request."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Above any useful setting of ``max_head_bytes``: that one answers with a problem, this one just hangs up.
_MOST_BYTES = 128 * 1024
_REFUSAL = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class BoundedHttp(HttpToolsProtocol):
    """Hang up on a request whose head does not end; the parser alone would gather it until memory is full."""

    _in_head = False
    _gathered_bytes = 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._gathered_bytes += len(data)
            if self._gathered_bytes > _MOST_BYTES:
                self.transport.write(_REFUSAL)
                self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._gathered_bytes = 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()
