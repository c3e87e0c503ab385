"""Mints over HTTP/3 with aioquic, a client that is not ours.

usage: mint_http3.py URL CA_FILE TOKEN BODY [COUNT]
Prints one JSON object a line: {"status":…,"body":…}; all requests share one QUIC connection.
"""
import asyncio
import json
import ssl
import sys
from urllib.parse import urlparse

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.answers = {}

    async def post(self, url, headers, body):
        stream = self._quic.get_next_available_stream_id()
        done = asyncio.get_running_loop().create_future()
        self.answers[stream] = {"done": done, "status": None, "body": b""}
        self.http.send_headers(stream, [
            (b":method", b"POST"), (b":scheme", b"https"), (b":authority", url.netloc.encode()), (b":path", url.path.encode()),
        ] + headers)
        self.http.send_data(stream, body, end_stream=True)
        self.transmit()
        return await asyncio.wait_for(done, 20)

    def quic_event_received(self, event):
        for http_event in self.http.handle_event(event):
            answer = self.answers.get(getattr(http_event, "stream_id", None))
            if answer is None:
                continue
            if isinstance(http_event, HeadersReceived):
                answer["status"] = int(dict(http_event.headers)[b":status"])
            elif isinstance(http_event, DataReceived):
                answer["body"] += http_event.data
            if http_event.stream_ended and not answer["done"].done():
                answer["done"].set_result((answer["status"], answer["body"]))


async def main(url, ca_file, token, body, count=1):
    url = urlparse(url)
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN)
    configuration.verify_mode = ssl.CERT_REQUIRED
    configuration.load_verify_locations(ca_file)
    configuration.server_name = url.hostname
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if token:
        headers.append((b"authorization", b"Bearer " + token.encode()))
    async with connect(url.hostname, url.port, configuration=configuration, create_protocol=Client) as client:
        for answer in await asyncio.gather(*(client.post(url, headers, body.encode()) for _ in range(int(count)))):
            print(json.dumps({"status": answer[0], "body": answer[1].decode()}))


asyncio.run(main(*sys.argv[1:]))
