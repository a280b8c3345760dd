// The candles of one product: history page by page, and the open one as it changes.

import { ConnectError, type Client } from "@connectrpc/connect";
import type { Candle, CandleInterval } from "./gen/ledgerflux/v1/candle_pb";
import type { MarketDataService } from "./gen/ledgerflux/v1/market_data_service_pb";
import { SortOrder } from "./gen/ledgerflux/v1/range_pb";
import { Backoff, sleep } from "./retry";

export interface CandleSink {
  /** Older ones than any so far, the oldest first. */
  older(candles: Candle[]): void;
  /** New ones, or newer versions of known ones, the oldest first. */
  newer(candles: Candle[]): void;
  /** Why none come at the moment; empty: they come. */
  trouble(reason: string): void;
}

const PAGE_SIZE = 500;
const POLL_MS = 1_000;

/** Fills a sink until it is ended. */
export class Candles {
  readonly #end = new AbortController();
  #olderToken = "";
  #loading = true;

  constructor(
    private readonly client: Client<typeof MarketDataService>,
    private readonly product: string,
    private readonly interval: CandleInterval,
    private readonly sink: CandleSink,
  ) {
    void this.#run();
  }

  end(): void {
    this.#end.abort();
  }

  /** Asks for the page of history before the oldest candle, unless that is on its way or there is none. */
  async loadOlder(): Promise<void> {
    if (this.#loading || !this.#olderToken) return;
    this.#loading = true;
    try {
      const page = await this.#page(this.#olderToken, PAGE_SIZE);
      if (!this.#end.signal.aborted) this.sink.older(page);
    } catch {
      // The next move of the chart asks again.
    } finally {
      this.#loading = false;
    }
  }

  async #run(): Promise<void> {
    const backoff = new Backoff();
    let started = false;
    while (!this.#end.signal.aborted) {
      try {
        if (started) this.sink.newer((await this.#list("", 3)).candles.reverse());
        else {
          const page = await this.#page("", PAGE_SIZE);
          this.#loading = false;
          this.sink.newer(page);
          started = true;
        }
        this.sink.trouble("");
        backoff.reset();
        await sleep(POLL_MS, this.#end.signal);
      } catch (error) {
        if (this.#end.signal.aborted) return;
        this.sink.trouble(ConnectError.from(error).rawMessage);
        await sleep(backoff.next(), this.#end.signal);
      }
    }
  }

  async #page(pageToken: string, pageSize: number): Promise<Candle[]> {
    const { candles, nextPageToken } = await this.#list(pageToken, pageSize);
    this.#olderToken = nextPageToken;
    return candles.reverse();
  }

  #list(pageToken: string, pageSize: number) {
    const request = { product: this.product, interval: this.interval, order: SortOrder.DESCENDING, pageSize, pageToken };
    return this.client.listCandles(request, { signal: this.#end.signal, timeoutMs: 15_000 });
  }
}
