// The candles of one product: history page by page, and the open one as it changes.

import { Code, ConnectError, type Client } from "@connectrpc/connect";
import type { Candle, CandleInterval } from "./gen/ledgerflux/v1/candle_pb";
import type { MarketDataService } from "./gen/ledgerflux/v1/market_data_service_pb";
import { SortOrder } from "./gen/ledgerflux/v1/range_pb";
import type { StreamingService } from "./gen/ledgerflux/v1/streaming_service_pb";
import { Backoff, sleep } from "./retry";

export interface Clients {
  marketData: Client<typeof MarketDataService>;
  streaming: Client<typeof StreamingService>;
}

export interface CandleSink {
  /** Older ones than any so far, the oldest first. */
  older(candles: Candle[]): void;
  /** New ones, or newer versions of known ones, the oldest first. */
  newer(candles: Candle[]): void;
  /** Why none come at the moment; empty: they come. */
  trouble(reason: string): void;
}

const PAGE_SIZE = 500;

/** Fills a sink until it is ended. */
export class Candles {
  readonly #end = new AbortController();
  #olderToken = "";
  #loadingOlder = false;
  /** The newest candle so far: the stream begins with it, so that nothing is left out in between. */
  #newest: Candle | undefined;
  #again = new AbortController();

  constructor(
    private readonly clients: Clients,
    private readonly product: string,
    private readonly interval: CandleInterval,
    private readonly sink: CandleSink,
  ) {
    void this.#run();
  }

  end(): void {
    this.#end.abort();
    this.#again.abort();
  }

  /** Connects again: the connection that others share was lost. */
  restart(): void {
    this.#again.abort();
  }

  /** Asks for the page of history before the oldest candle, unless that is on its way or there is none. */
  async loadOlder(): Promise<void> {
    if (this.#loadingOlder || !this.#olderToken) return;
    this.#loadingOlder = true;
    try {
      const page = await this.#page(this.#olderToken);
      if (!this.#end.signal.aborted) this.sink.older(page);
    } catch {
      // The next move of the chart asks again.
    } finally {
      this.#loadingOlder = false;
    }
  }

  async #run(): Promise<void> {
    const backoff = new Backoff();
    while (!this.#end.signal.aborted) {
      this.#again = new AbortController();
      try {
        if (!this.#newest) this.#take(await this.#page(""));
        backoff.reset();
        await this.#follow();
      } catch (error) {
        if (this.#end.signal.aborted) return;
        if (this.#again.signal.aborted) continue;
        const fault = ConnectError.from(error);
        this.sink.trouble(fault.rawMessage);
        // Without the right key there is nothing to ask for until the page is connected again.
        await sleep(fault.code === Code.Unauthenticated ? Number.POSITIVE_INFINITY : backoff.next(), this.#again.signal);
      }
    }
  }

  /** Takes candles as they form, until the connection ends. */
  async #follow(): Promise<void> {
    const request = { products: [this.product], interval: this.interval, startTime: this.#newest?.startTime };
    for await (const { message } of this.clients.streaming.streamCandles(request, { signal: this.#again.signal })) {
      if (message.case === "candle") this.#take([message.value]);
    }
    throw new ConnectError("the server has ended the stream", Code.Unavailable);
  }

  #take(candles: Candle[]): void {
    if (this.#end.signal.aborted) return;
    for (const candle of candles) {
      if (startOf(candle) >= startOf(this.#newest)) this.#newest = candle;
    }
    this.sink.newer(candles);
    this.sink.trouble("");
  }

  async #page(pageToken: string): Promise<Candle[]> {
    const { product, interval } = this;
    const request = { product, interval, order: SortOrder.DESCENDING, pageSize: PAGE_SIZE, pageToken };
    const options = { signal: this.#end.signal, timeoutMs: 15_000 };
    const { candles, nextPageToken } = await this.clients.marketData.listCandles(request, options);
    this.#olderToken = nextPageToken;
    return candles.reverse();
  }
}

/** The start of a candle in seconds, which is how the chart counts time. */
export function startOf(candle: Candle | undefined): number {
  return Number(candle?.startTime?.seconds ?? 0n);
}
