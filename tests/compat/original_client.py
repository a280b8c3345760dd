#!/usr/bin/env python3
"""Behaves like the WebSocket client of the original system, unchanged in what matters to the server.

It sends {"op":"subscribe","products":[...],"want_snapshot":true}, reads `op` and `data` of what comes back, treats prices
as JSON numbers, and divides `ts_event` and `ts_snapshot` by 1e9 to get seconds. It exits with 0 after the wanted number of
messages, and with 1, and the reason, when anything is not as that client expects it.

Only the standard library is used: the WebSocket protocol (RFC 6455) is spoken by hand.

    original_client.py ws://127.0.0.1:8000/ws --products BTC-USD --messages 10
"""

import argparse
import base64
import hashlib
import json
import os
import socket
import sys
import time
from urllib.parse import urlsplit

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA


class Unexpected(Exception):
    """The server does not do what the original one did."""


class WebSocket:
    def __init__(self, url, timeout):
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port or 80), timeout=timeout)
        self.buffer = b""
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.shake_hands(parts.netloc, path)

    def shake_hands(self, host, path):
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        self.socket.sendall(request.encode())
        while b"\r\n\r\n" not in self.buffer:
            self.fill()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        if " 101 " not in lines[0] + " ":
            raise Unexpected(f"no upgrade: {lines[0]}")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        expected = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        if headers.get("sec-websocket-accept") != expected:
            raise Unexpected("the handshake was not answered to this key")

    def fill(self):
        received = self.socket.recv(65536)
        if not received:
            raise Unexpected("the server closed the connection without a close frame")
        self.buffer += received

    def take(self, length):
        while len(self.buffer) < length:
            self.fill()
        taken, self.buffer = self.buffer[:length], self.buffer[length:]
        return taken

    def send(self, opcode, payload):
        mask = os.urandom(4)
        length = len(payload)
        if length < 126:
            head = bytes([0x80 | opcode, 0x80 | length])
        else:
            head = bytes([0x80 | opcode, 0x80 | 126]) + length.to_bytes(2, "big")
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        self.socket.sendall(head + mask + masked)

    def receive(self):
        """The next text message; pings are answered on the way."""
        message = b""
        while True:
            first, second = self.take(2)
            if second & 0x80:
                raise Unexpected("a server must not mask its frames")
            length = second & 0x7F
            if length == 126:
                length = int.from_bytes(self.take(2), "big")
            elif length == 127:
                length = int.from_bytes(self.take(8), "big")
            payload = self.take(length)
            opcode = first & 0x0F
            if opcode == PING:
                self.send(PONG, payload)
            elif opcode == CLOSE:
                code = int.from_bytes(payload[:2], "big") if payload else None
                raise Unexpected(f"closed by the server: {code} {payload[2:].decode()}")
            elif opcode != PONG:
                message += payload
                if first & 0x80:
                    return message.decode("utf-8")

    def close(self):
        self.send(CLOSE, (1000).to_bytes(2, "big"))
        self.socket.close()


def number(value, what):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unexpected(f"{what} is {value!r}, not a number")
    return value


def seconds(nanoseconds, what):
    value = number(nanoseconds, what) / 1e9
    # 2010 to 2100: anything else was not in nanoseconds.
    if not 1_262_304_000 < value < 4_102_444_800:
        raise Unexpected(f"{what} is {value} s after 1970")
    return value


def clock(value):
    return time.strftime("%H:%M:%S", time.gmtime(value))


def on_snapshot(data):
    at = seconds(data["ts_snapshot"], "ts_snapshot")
    trade = data["state"]["last_trade"]
    if trade is None:
        if data["seq"] != 0:
            raise Unexpected("a snapshot without a trade has a sequence")
        return f"{clock(at)} {data['product']} snapshot: no data yet"
    price, size = number(trade["px"], "px"), number(trade["qty"], "qty")
    return f"{clock(at)} {data['product']} snapshot #{data['seq']}: {size} at {price}"


def on_incr(data, last):
    at = seconds(data["ts_event"], "ts_event")
    product, sequence = data["product"], number(data["seq"], "seq")
    position = (data.get("run", 0), sequence)
    if position <= last.get(product, (0, -1)):
        raise Unexpected(f"{product} went from {last[product]} to {position}")
    last[product] = position
    trade = data["fields"].get("last_trade")
    told = f"{number(trade['qty'], 'qty')} at {number(trade['px'], 'px')}" if trade else "quote"
    return f"{clock(at)} {product} #{sequence}: {told}"


def run(arguments):
    client = WebSocket(arguments.url, arguments.timeout)
    request = {"op": "subscribe", "products": arguments.products.split(","), "want_snapshot": True}
    client.send(TEXT, json.dumps(request).encode())
    snapshots, ticks, last = 0, 0, {}
    while snapshots + ticks < arguments.messages or ticks < arguments.ticks:
        message = json.loads(client.receive())
        op = message["op"]
        if op == "snapshot":
            if message["data"]["product"] in last:
                raise Unexpected("a tick came before the snapshot")
            snapshots += 1
            told = on_snapshot(message["data"])
        elif op == "incr":
            ticks += 1
            told = on_incr(message["data"], last)
        elif op == "rate_limit":
            told = f"rate limit, retry in {number(message['retry_ms'], 'retry_ms')} ms"
        else:
            raise Unexpected(f"unexpected message: {message}")
        if not arguments.quiet:
            print(told, flush=True)
    if snapshots == 0:
        raise Unexpected("no snapshot came")
    client.close()
    print(f"ok: {snapshots} snapshots, {ticks} ticks")


def main():
    parser = argparse.ArgumentParser(description="A client of the original system.")
    parser.add_argument("url", help="for example ws://127.0.0.1:8000/ws")
    parser.add_argument("--products", default="BTC-USD", help="separated by commas (default: %(default)s)")
    parser.add_argument("--messages", type=int, default=5, help="end after so many snapshots and ticks (default: %(default)s)")
    parser.add_argument("--ticks", type=int, default=0, help="at least so many of them ticks (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds without a message (default: %(default)s)")
    parser.add_argument("--quiet", action="store_true", help="print the result only")
    try:
        run(parser.parse_args())
    except (Unexpected, KeyError, TypeError, ValueError, OSError) as error:
        print(f"failed: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
