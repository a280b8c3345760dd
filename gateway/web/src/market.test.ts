import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { SubscribeResponseSchema } from "./gen/ledgerflux/v1/streaming_service_pb";
import { Market } from "./market";

const tick = (run: number, sequence: bigint, price: string) =>
  create(SubscribeResponseSchema, {
    message: { case: "tick", value: { tick: { product: "BTC-USD", run, sequence, lastTrade: { price, size: "1" } } } },
  });
const snapshot = (run: number, sequence: bigint, price: string) =>
  create(SubscribeResponseSchema, {
    message: { case: "snapshot", value: { snapshot: { product: "BTC-USD", run, sequence, state: { lastTrade: { price, size: "1" } } } } },
  });

test("what a resumed stream repeats changes nothing, and no price steps back", () => {
  const market = new Market();
  const prices = [
    snapshot(0, 10n, "100"), tick(0, 11n, "101"), tick(0, 12n, "102"),
    // From the checkpoint on, again.
    tick(0, 11n, "101"), tick(0, 12n, "102"), tick(0, 13n, "103"),
    // The exchange's sequence starts anew.
    tick(1, 1n, "104"), tick(0, 14n, "99"),
    // The full state, of another history even.
    snapshot(0, 5n, "105"), tick(0, 6n, "106"),
  ].map((response) => {
    market.apply(response);
    return market.products.get("BTC-USD")?.price;
  });
  expect(prices).toEqual(["100", "101", "102", "102", "102", "103", "104", "104", "105", "106"]);
  expect(market.updates).toBe(7);
});
