// The page: one subscription feeds the table, the chart follows the selected product, and everything that happens is told.

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { Chart } from "./chart";
import { ConnectionView } from "./connection";
import { byId, setText } from "./dom";
import { Events } from "./events";
import { FeedState } from "./gen/ledgerflux/v1/event_pb";
import { MarketDataService } from "./gen/ledgerflux/v1/market_data_service_pb";
import { StreamEventKind, StreamingService } from "./gen/ledgerflux/v1/streaming_service_pb";
import { showExamples } from "./help";
import { authorization, withKey } from "./key";
import { Market } from "./market";
import { Subscription } from "./subscription";
import { Table } from "./table";
import { milliseconds } from "./times";

const FEEDS_MS = 3_000;
/** The most products that one call may name. */
const PRODUCTS_PER_CALL = 100;
const GAPS_SINCE_S = 3_600;
const GAPS_MAX = 1_000;

const transport = createGrpcWebTransport({ baseUrl: location.origin, interceptors: [withKey] });
const marketData = createClient(MarketDataService, transport);
const streaming = createClient(StreamingService, transport);

const market = new Market();
const events = new Events();
const chart = new Chart({ marketData, streaming });
let selected = "";
let locked = false;
let live = false;
let keyEnded = false;
const table = new Table(market, (product) => {
  selected = product;
  chart.show(product);
  showExamples(product, locked);
});

const connection = new ConnectionView(events);
const subscription = new Subscription(streaming, {
  message({ message }) {
    if (message.case === "event") {
      const event = message.value;
      // The server's clock is the one that ages are told by: that of this device may be wrong.
      if (event.kind === StreamEventKind.LIVE || event.kind === StreamEventKind.CHECKPOINT) {
        if (event.reportTime) table.clockOffsetMs = milliseconds(event.reportTime) - Date.now();
      }
      if (event.resumeToken) connection.checkpoint(Date.now());
      if (event.kind === StreamEventKind.LIVE) {
        // The products are known now.
        void feeds();
        void recentGaps();
      }
      if (event.kind === StreamEventKind.STALE) market.setFeed(event.product, FeedState.STALE);
      events.event(event);
    } else {
      market.apply({ message } as Parameters<Market["apply"]>[0]);
    }
  },
  connection(state) {
    // What is on the screen may be more than the key allows now.
    if (state.state === "live" && keyEnded) return location.reload();
    connection.show(state);
    live = state.state === "live";
    if (state.state === "locked") lock();
    if (state.state === "waiting" || state.state === "locked") {
      for (const product of market.products.keys()) market.setFeed(product, FeedState.UNSPECIFIED);
    }
    if (state.state !== "live") return;
    void about();
    if (state.again) chart.restart();
  },
  notResumed(reason) {
    events.tell(`the stream could not go on where it was, so it starts with the newest state: ${reason}`, "bad");
  },
  keyEnded(reason) {
    keyEnded = true;
    events.tell(reason, "bad");
  },
});

/** The server asks for keys. */
function lock(): void {
  if (locked) return;
  locked = true;
  showExamples(selected || "BTC-USD", locked);
}

/** What the data is, so that nobody takes a simulation for a market. */
async function about(): Promise<void> {
  try {
    const info = await (await fetch("info.json", { headers: authorization() })).json();
    setText(byId("version"), `LedgerFlux ${info.version}`);
    connection.offerKey(info.auth_required === true);
    if (info.auth_required === true) lock();
    const said: Record<string, string> = {
      simulated: "Simulated data: this is no market",
      replay: `Replay of ${info.file ?? "a recording"}: this is the past`,
    };
    setText(byId("banner"), said[info.feed] ?? "");
    byId("banner").hidden = !said[info.feed];
  } catch {
    // The next connection asks again.
  }
}

/** Those of the last hour, also those that happened while the page was not connected. */
async function recentGaps(): Promise<void> {
  const seconds = BigInt(Math.floor(Date.now() / 1000) - GAPS_SINCE_S);
  const tell = async (product: string) => {
    const request = { product, timeRange: { startTime: { seconds } }, pageSize: GAPS_MAX };
    const { gaps } = await marketData.listGaps(request, { timeoutMs: 10_000 });
    for (const gap of gaps) events.gap(gap);
  };
  try {
    await tell("").catch(async (error: unknown) => {
      // Who may see some products only has to name them.
      if (ConnectError.from(error).code !== Code.PermissionDenied) throw error;
      for (const product of market.products.keys()) await tell(product);
    });
  } catch {
    // Query is away. What happens from now on is told by the stream.
  }
}

/** The state of each feed is no part of the stream as long as all is well. */
async function feeds(): Promise<void> {
  if (document.hidden || !live) return;
  const names = [...market.products.keys()];
  for (let at = 0; at < names.length; at += PRODUCTS_PER_CALL) {
    const products = names.slice(at, at + PRODUCTS_PER_CALL);
    try {
      const { latestPrices } = await marketData.batchGetLatestPrices({ products }, { timeoutMs: 2_500 });
      for (const { product, feedState } of latestPrices) market.setFeed(product, feedState);
    } catch {
      for (const product of products) market.setFeed(product, FeedState.UNSPECIFIED);
    }
  }
}

function draw(): void {
  table.draw();
  if (!selected) {
    const first = [...market.products.keys()].sort((a, b) => a.localeCompare(b))[0];
    const preferred = market.products.has("BTC-USD") ? "BTC-USD" : first;
    if (preferred && !table.paused) table.select(preferred);
  }
  requestAnimationFrame(draw);
}

byId("pause").addEventListener("click", () => {
  table.paused = !table.paused;
  byId("pause").setAttribute("aria-pressed", String(table.paused));
});
addEventListener("online", () => subscription.wake());
setInterval(() => void feeds(), FEEDS_MS);
showExamples("BTC-USD", locked);
requestAnimationFrame(draw);
void subscription.run();
