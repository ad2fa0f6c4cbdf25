"""A target that only records an upload: `listener.py CERTIFICATES BODY HEAD`.

Prints the address it listens on, accepts uploads over TLS until one is complete, writes the body (without its chunked
coding) to BODY and the request head to HEAD, and answers 200. Other requests get 404, as from CDI's upload server.
"""
import ssl
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

certificates, body_file, head_file = map(Path, sys.argv[1:])


class Recorder(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __getattr__(self, name: str):
        if name.startswith("do_"):
            return lambda: self.answer(404)
        raise AttributeError(name)

    def do_POST(self) -> None:
        head_file.write_text(f"{self.requestline}\n{self.headers}")
        with body_file.open("wb") as body:
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body.write(self.rfile.read(size))
                assert self.rfile.readline() == b"\r\n"
        assert self.rfile.readline() == b"\r\n"
        self.answer(200)
        self.server.complete = True

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
context.load_verify_locations(certificates / "client-ca.crt")
context.verify_mode = ssl.CERT_REQUIRED

server = HTTPServer(("127.0.0.1", 0), Recorder)
server.complete = False
server.socket = context.wrap_socket(server.socket, server_side=True)
print(f"listening on https://127.0.0.1:{server.server_port}", flush=True)
while not server.complete:
    server.handle_request()
