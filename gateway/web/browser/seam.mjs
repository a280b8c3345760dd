// A page whose gateway is killed while the market goes on: what it gets before and after makes one whole.
//
//     node gateway/web/browser/seam.mjs URL FOLDER-FOR-PICTURES
//
// Whoever runs it kills the gateway when it says "kill the gateway" and starts it again, on the same port, when it says "start the
// gateway". The exchange leaves trades out now and then.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { isLive, until, withPage } from "./open.mjs";

const [url, pictures] = process.argv.slice(2);
const contract = readFileSync(new URL("../../../proto/ledgerflux.v1.binpb", import.meta.url));
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, contract));
const SubscribeResponse = registry.getMessage("ledgerflux.v1.SubscribeResponse");
const Kind = Object.fromEntries(registry.getEnum("ledgerflux.v1.StreamEventKind").values.map(({ name, number }) => [name, number]));

await withPage(url, pictures, async (page, { picture, account }) => {
  await isLive(page);
  await until(page, "a gap is told", () => /\d+ trades? (is|are) missing, for /.test(document.getElementById("events").textContent));
  await until(page, "it was fetched", () => /missing and (was|were) fetched/.test(document.getElementById("events").textContent));
  await picture("gap");
  await until(page, "a checkpoint to resume from", () => document.getElementById("connection").dataset.checkpoint);
  account.gatewayIsAway = true;
  console.log("kill the gateway");
  await until(page, "the page says so", () => document.getElementById("connection").dataset.state === "waiting");
  console.log("start the gateway");
  await isLive(page);
  await until(page, "it goes on where it was", () => document.getElementById("events").textContent.includes("it goes on where it was"));
  assert.equal(await page.locator("#connection-text").textContent(), "live, resumed");
  account.gatewayIsAway = false;
  const before = await page.evaluate(() => window.streams.at(-1).length);
  await until(page, "some more", (before) => window.streams.at(-1).length > before + 30, before);

  const streams = (await page.evaluate(() => window.streams)).map((stream) => stream.map(decoded));
  const trades = tradesOf(streams.filter((stream) => stream.length > 0));
  await allAreThereOrTold(page, trades);
  console.log([...trades].map(([product, ids]) => `${product}: ${ids.size} trades`).join(", "));
}, recordStreams);
console.log("everything held");

/** Keeps each message of each subscription, as it came. Runs in the page, before its own scripts. */
function recordStreams() {
  const fetched = window.fetch;
  window.streams = [];
  window.fetch = async (input, init) => {
    const response = await fetched(input, init);
    const address = input instanceof Request ? input.url : String(input);
    if (!address.endsWith("/Subscribe") || !response.body) return response;
    const [ours, theirs] = response.body.tee();
    const messages = [];
    window.streams.push(messages);
    const read = async () => {
      let rest = new Uint8Array();
      for (const reader = ours.getReader(); ; ) {
        const { done, value } = await reader.read();
        if (done) return;
        rest = Uint8Array.from([...rest, ...value]);
        // A frame of grpc-web: a byte of flags (the highest: trailers), four of the length, the message.
        for (let end; rest.length >= 5 && rest.length >= (end = 5 + new DataView(rest.buffer).getUint32(1)); rest = rest.slice(end)) {
          if (rest[0] < 128) messages.push([...rest.slice(5, end)]);
        }
      }
    };
    read().catch(() => {});
    return new Response(theirs, response);
  };
}

function decoded(bytes) {
  return fromBinary(SubscribeResponse, Uint8Array.from(bytes)).message;
}

/** The trades of each product that came over the two connections: nothing was left out on the way, nothing stepped back. */
function tradesOf(streams) {
  assert.equal(streams.length, 2, "two connections brought something");
  const trades = new Map();
  for (const stream of streams) {
    const newest = new Map();
    for (const { case: kind, value } of stream) {
      if (kind !== "tick") continue;
      const { product, sequence, lastTrade } = value.tick;
      assert.equal(value.skipped, 0n, "nothing is left out");
      assert(sequence > (newest.get(product) ?? -1n), `a step back within a connection: ${product} ${sequence}`);
      newest.set(product, sequence);
      trades.set(product, (trades.get(product) ?? new Set()).add(lastTrade.tradeId));
    }
  }
  assert(trades.size >= 3, "three products");
  const missed = streams[1].findIndex(({ case: kind, value }) => kind === "event" && value.kind === Kind.STREAM_EVENT_KIND_LIVE);
  assert(missed > 0, "something happened while the gateway was away, and came before what is new");
  return trades;
}

/** Each trade from the first to the last was sent, or is among the gaps that the page shows: also one of the time when it was away. */
async function allAreThereOrTold(page, trades) {
  const holes = [...trades].flatMap(([product, ids]) => {
    const sorted = [...ids].sort((a, b) => (a < b ? -1 : 1));
    const missing = [];
    for (let id = sorted[0]; id <= sorted.at(-1); id += 1n) if (!ids.has(id)) missing.push([product, id]);
    return missing;
  });
  // A gap may be told a moment after the trade behind it.
  for (const deadline = Date.now() + 30_000; ; await page.waitForTimeout(100)) {
    const told = await page.evaluate(() => [...document.querySelectorAll("#events li")].map((item) => item.dataset.name).filter(Boolean));
    assert.equal(new Set(told).size, told.length, `a gap is told once in each state: ${told.join(", ")}`);
    const gaps = told.map((name) => name.split(" ")).map(([product, , first, last]) => [product, BigInt(first), BigInt(last)]);
    const silent = holes.filter(([product, id]) => !gaps.some(([of, first, last]) => of === product && first <= id && id <= last));
    if (silent.length === 0) return;
    assert(Date.now() < deadline, `neither sent nor told as missing: ${silent.join(", ")}`);
  }
}
