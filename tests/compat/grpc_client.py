#!/usr/bin/env python3
"""A gRPC client in Python, over grpcio and its C core, which is another implementation of HTTP/2 than the server's.

It subscribes, reads a snapshot, `LIVE` and ticks in order, asks for history, and meets an error with details and a deadline of its
own. It exits with 0 and a line that begins with "ok", or with the reason.

Messages are read and written by hand, so that grpcio is all it needs: only the fields below are looked at.

    grpc_client.py 127.0.0.1:8000 --product BTC-USD --ticks 5
"""

import argparse
import sys

import grpc

SUBSCRIBE = "/ledgerflux.v1.StreamingService/Subscribe"
GET_LATEST_PRICE = "/ledgerflux.v1.MarketDataService/GetLatestPrice"
HEALTH = "/grpc.health.v1.Health/Check"
# SubscribeRequest: `products`; GetLatestPriceRequest: `product`. SubscribeResponse: one of three.
PRODUCTS = 2
KINDS = {1: "snapshot", 2: "tick", 3: "event"}
# TickUpdate: `tick`, and in it `sequence`.
TICK, SEQUENCE = 1, 4
DETAILS = "grpc-status-details-bin"
PATIENCE_SECONDS = 15


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if byte < 0x80:
            return value, at


def fields(data):
    """Pairs of number and value: an int, or the bytes of a string or message."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = varint(data, at)
        elif wire == 2:
            length, at = varint(data, at)
            value, at = data[at : at + length], at + length
        else:
            length = {1: 8, 5: 4}[wire]
            value, at = data[at : at + length], at + length
        yield number, value


def text_field(number, text):
    encoded = text.encode()
    assert len(encoded) < 128
    return bytes([number << 3 | 2, len(encoded)]) + encoded


def expect(condition, what):
    if not condition:
        sys.exit(f"unexpected: {what}")


def refused(call, code):
    """The error that `call` ends with."""
    try:
        call()
    except grpc.RpcError as error:
        expect(error.code() == code, f"{error.code()} instead of {code}: {error.details()}")
        return error
    sys.exit(f"unexpected: an answer instead of {code}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("--product", default="BTC-USD")
    parser.add_argument("--ticks", type=int, default=5)
    asked = parser.parse_args()
    with grpc.insecure_channel(asked.address) as channel:
        subscribe, health = channel.unary_stream(SUBSCRIBE), channel.unary_unary(HEALTH)
        get = channel.unary_unary(GET_LATEST_PRICE)
        serving = dict(fields(health(b"", timeout=PATIENCE_SECONDS)))
        expect(serving == {1: 1}, f"health: {serving}")

        # An error has its details; a deadline of the client is kept; nobody serves history here.
        wrong = subscribe(text_field(PRODUCTS, "no product"), timeout=PATIENCE_SECONDS)
        error = refused(lambda: next(wrong), grpc.StatusCode.INVALID_ARGUMENT)
        details = dict(error.trailing_metadata()).get(DETAILS, b"")
        expect(b"INVALID_FIELD" in details and b"products[0]" in details, f"details: {details}")
        one = text_field(PRODUCTS, asked.product)
        refused(lambda: list(subscribe(one, timeout=0.3)), grpc.StatusCode.DEADLINE_EXCEEDED)
        refused(lambda: get(one, timeout=PATIENCE_SECONDS), grpc.StatusCode.UNAVAILABLE)

        kinds, sequences = [], []
        stream = subscribe(one, timeout=PATIENCE_SECONDS)
        print("subscribed", flush=True)
        for message in stream:
            [(number, update)] = fields(message)
            kinds.append(KINDS[number])
            if kinds[-1] == "tick":
                tick = dict(fields(dict(fields(update))[TICK]))
                sequences.append(tick[SEQUENCE])
            if len(sequences) == asked.ticks:
                break
        expect(kinds[:2] == ["snapshot", "event"], f"kinds: {kinds}")
        expect(sequences == list(range(sequences[0], sequences[0] + asked.ticks)), f"sequences: {sequences}")
        stream.cancel()
    print(f"ok: {len(sequences)} ticks")


if __name__ == "__main__":
    main()
