// What is known of each product. It takes any number of updates between two frames; the screen asks what has changed.

import type { Snapshot } from "./gen/ledgerflux/v1/snapshot_pb";
import type { SubscribeResponse } from "./gen/ledgerflux/v1/streaming_service_pb";
import type { DayStats, Quote, Tick, Trade } from "./gen/ledgerflux/v1/tick_pb";
import { FeedState } from "./gen/ledgerflux/v1/event_pb";
import { milliseconds } from "./times";

/** The newest that is known of a product. Prices and sizes are the exchange's own text. */
export interface Product {
  readonly name: string;
  price?: string;
  bid?: string;
  ask?: string;
  open?: string;
  volume?: string;
  /** The exchange's own time of the newest tick. */
  eventMs?: number;
  feed: FeedState;
  /** The place of the newest tick: the run, and the exchange's sequence in it. */
  run: number;
  sequence: bigint;
}

export class Market {
  readonly products = new Map<string, Product>();
  /** Those that have changed since they were last shown. */
  readonly changed = new Set<Product>();
  updates = 0;
  skipped = 0n;

  apply(response: SubscribeResponse): void {
    const { message } = response;
    if (message.case === "tick" && message.value.tick) this.#tick(message.value.tick, message.value.skipped);
    if (message.case === "snapshot" && message.value.snapshot) this.#snapshot(message.value.snapshot);
  }

  /** What the server says of the feed of a product. */
  setFeed(name: string, state: FeedState): void {
    const product = this.products.get(name);
    if (!product || product.feed === state) return;
    product.feed = state;
    this.changed.add(product);
  }

  #tick(tick: Tick, skipped: bigint): void {
    this.skipped += skipped;
    if (tick.backfilled) return;
    const product = this.#product(tick.product);
    // A resumed stream begins at its checkpoint, some seconds back: what is here already does not come twice, and nothing steps back.
    if (tick.sequence !== undefined) {
      if (tick.run < product.run || (tick.run === product.run && tick.sequence <= product.sequence)) return;
      [product.run, product.sequence] = [tick.run, tick.sequence];
    }
    this.#take(product, tick.lastTrade, tick.bestBid, tick.bestAsk, tick.dayStats);
    if (tick.eventTime) product.eventMs = milliseconds(tick.eventTime);
    if (product.feed === FeedState.STALE) product.feed = FeedState.LIVE;
  }

  #snapshot(snapshot: Snapshot): void {
    const product = this.#product(snapshot.product);
    const state = snapshot.state;
    if (!state) return;
    // The full state begins anew, whatever was here.
    [product.run, product.sequence] = [snapshot.run, snapshot.sequence ?? -1n];
    this.#take(product, state.lastTrade, state.bestBid, state.bestAsk, state.dayStats);
    const times = [state.lastTradeTime, state.bestBidTime, state.bestAskTime].flatMap((time) => (time ? [milliseconds(time)] : []));
    if (times.length) product.eventMs = Math.max(...times);
  }

  /** A group that is absent leaves what was said before. */
  #take(product: Product, trade?: Trade, bid?: Quote, ask?: Quote, day?: DayStats): void {
    if (trade) product.price = trade.price;
    if (bid) product.bid = bid.price;
    if (ask) product.ask = ask.price;
    if (day?.open24h !== undefined) product.open = day.open24h;
    if (day?.volume24h !== undefined) product.volume = day.volume24h;
    this.updates += 1;
    this.changed.add(product);
  }

  #product(name: string): Product {
    let product = this.products.get(name);
    if (!product) {
      product = { name, feed: FeedState.UNSPECIFIED, run: 0, sequence: -1n };
      this.products.set(name, product);
    }
    return product;
  }
}
