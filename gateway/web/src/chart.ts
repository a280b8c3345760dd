// The candlestick chart of one product.
//
// Exact numbers: the chart library computes pixels and takes floating-point numbers for that, so here alone prices and volumes are
// turned into them. What is written beside the chart is the text of the candle itself.

import {
  CandlestickSeries, createChart, HistogramSeries, type CandlestickData, type HistogramData, type IChartApi,
  type ISeriesApi, type Time, type UTCTimestamp, type WhitespaceData,
} from "lightweight-charts";
import { Candles, startOf, type CandleSink, type Clients } from "./candles";
import { scaleOf } from "./decimal";
import { byId, make, setText } from "./dom";
import { CandleInterval, CandleState, type Candle } from "./gen/ledgerflux/v1/candle_pb";

const INTERVALS: [string, CandleInterval, string][] = [
  ["1m", CandleInterval.ONE_MINUTE, "1 minute"],
  ["5m", CandleInterval.FIVE_MINUTES, "5 minutes"],
  ["15m", CandleInterval.FIFTEEN_MINUTES, "15 minutes"],
  ["1h", CandleInterval.ONE_HOUR, "1 hour"],
  ["6h", CandleInterval.SIX_HOURS, "6 hours"],
  ["1d", CandleInterval.ONE_DAY, "1 day"],
];
/** When fewer candles than this are left of what is seen, the ones before are asked for. */
const OLDER_WHEN_LEFT = 20;
const CANDLE_WIDTH_PX = 10;

const STATE_TEXT: Partial<Record<CandleState, string>> = {
  [CandleState.OPEN]: "open",
  [CandleState.COMPLETE]: "complete",
  [CandleState.REPAIRED]: "complete, repaired",
  [CandleState.INCOMPLETE]: "incomplete: trades are missing",
  [CandleState.EMPTY]: "no trades",
};

export class Chart implements CandleSink {
  readonly #box = byId("chart");
  readonly #legend = byId("legend");
  readonly #chart: IChartApi;
  readonly #prices: ISeriesApi<"Candlestick">;
  readonly #volumes: ISeriesApi<"Histogram">;
  /** By start, in seconds, in order. */
  #known = new Map<number, Candle>();
  #candles: Candles | undefined;
  #product = "";
  #interval = INTERVALS[0]!;
  #inspected: number | undefined;
  #trouble = "";

  constructor(private readonly clients: Clients) {
    // The library's own logo would bring a style sheet that the policy of the page forbids; index.html names the library.
    this.#chart = createChart(this.#box, { autoSize: true, layout: { attributionLogo: false } });
    this.#prices = this.#chart.addSeries(CandlestickSeries, { borderVisible: false });
    this.#volumes = this.#chart.addSeries(HistogramSeries, {
      priceScaleId: "volume", priceFormat: { type: "volume" }, lastValueVisible: false, priceLineVisible: false,
    });
    this.#chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
    this.#prices.priceScale().applyOptions({ scaleMargins: { top: 0.06, bottom: 0.22 } });
    this.#chart.timeScale().applyOptions({ timeVisible: true, secondsVisible: false, rightOffset: 4, maxBarSpacing: 40 });
    this.#chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (range && range.from < OLDER_WHEN_LEFT) void this.#candles?.loadOlder();
    });
    this.#chart.subscribeCrosshairMove(({ time }) => this.#inspect(time === undefined ? undefined : Number(time)));
    this.#box.addEventListener("keydown", (event) => this.#key(event));
    this.#colour();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.#colour();
      this.#redraw();
    });
    this.#offerIntervals();
  }

  show(product: string, interval = this.#interval): void {
    this.#candles?.end();
    this.#product = product;
    this.#interval = interval;
    this.#known = new Map();
    this.#inspected = undefined;
    this.#redraw();
    setText(byId("chart-title"), product);
    this.#box.setAttribute("aria-label", `Candlestick chart of ${product}, candles of ${interval[2]}`);
    this.#candles = new Candles(this.clients, product, interval[1], this);
  }

  /** The connection was lost and is there again. */
  restart(): void {
    this.#candles?.restart();
  }

  older(candles: Candle[]): void {
    this.#known = new Map([...candles.map((candle): [number, Candle] => [startOf(candle), candle]), ...this.#known]);
    this.#redraw();
  }

  newer(candles: Candle[]): void {
    const first = this.#known.size === 0;
    const last = this.#lastStart();
    const all = first || candles.some((candle) => startOf(candle) < last && !this.#known.has(startOf(candle)));
    for (const candle of candles) this.#known.set(startOf(candle), candle);
    if (all) {
      this.#known = new Map([...this.#known].sort(([a], [b]) => a - b));
      this.#redraw();
    } else {
      for (const candle of candles) this.#draw(candle);
    }
    if (first) this.#lookAtNewest();
    this.#tell();
  }

  trouble(reason: string): void {
    this.#trouble = reason;
    this.#tell();
  }

  #lastStart(): number {
    return Math.max(...[...this.#known.keys()].slice(-1), 0);
  }

  #draw(candle: Candle): void {
    const earlier = startOf(candle) < this.#lastStart();
    this.#prices.update(this.#bar(candle), earlier);
    this.#volumes.update(this.#volume(candle), earlier);
  }

  #redraw(): void {
    const candles = [...this.#known.values()];
    const precision = Math.max(2, ...candles.slice(-50).map((candle) => scaleOf(candle.close ?? "")));
    this.#prices.applyOptions({ priceFormat: { type: "price", precision, minMove: 10 ** -precision } });
    this.#prices.setData(candles.map((candle) => this.#bar(candle)));
    this.#volumes.setData(candles.map((candle) => this.#volume(candle)));
  }

  /** The newest candles at a width that shows them as candles, few or many. */
  #lookAtNewest(): void {
    const width = this.#box.clientWidth;
    const fits = Math.max(20, Math.floor(width / CANDLE_WIDTH_PX));
    const seen = Math.min(fits, Math.max(this.#known.size + 4, 30));
    const last = this.#known.size - 1;
    this.#chart.timeScale().setVisibleLogicalRange({ from: last - seen + 4, to: last + 4 });
  }

  #bar(candle: Candle): CandlestickData | WhitespaceData {
    const time = startOf(candle) as UTCTimestamp;
    const { open, high, low, close } = candle;
    if (open === undefined || high === undefined || low === undefined || close === undefined) return { time };
    return { time, open: Number(open), high: Number(high), low: Number(low), close: Number(close) };
  }

  #volume(candle: Candle): HistogramData | WhitespaceData {
    const time = startOf(candle) as UTCTimestamp;
    const rose = Number(candle.close ?? 0) >= Number(candle.open ?? 0);
    return { time, value: Number(candle.volume), color: colour(rose ? "--up-faint" : "--down-faint") };
  }

  #colour(): void {
    const [up, down, ink, line] = ["--up", "--down", "--quiet", "--line"].map(colour) as [string, string, string, string];
    this.#chart.applyOptions({
      layout: { background: { color: "transparent" }, textColor: ink, fontFamily: getComputedStyle(this.#box).fontFamily },
      grid: { vertLines: { color: line }, horzLines: { color: line } },
      rightPriceScale: { borderColor: line },
      timeScale: { borderColor: line },
    });
    this.#prices.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down });
  }

  /** The candle under the pointer, or the newest; its numbers are its own text. */
  #tell(): void {
    const candle = this.#known.get(this.#inspected ?? this.#lastStart());
    if (this.#trouble) return setText(this.#legend, `No candles at the moment: ${this.#trouble}`);
    if (!candle) return setText(this.#legend, this.#candles ? "No candles yet." : "");
    const time = new Date(startOf(candle) * 1000).toISOString().slice(0, 16).replace("T", " ");
    const numbers = `O ${candle.open ?? "–"}  H ${candle.high ?? "–"}  L ${candle.low ?? "–"}  C ${candle.close ?? "–"}  V ${candle.volume}`;
    const state = STATE_TEXT[candle.state];
    setText(this.#legend, `${time}  ${numbers}  ${candle.tradeCount} ${candle.tradeCount === 1n ? "trade" : "trades"}${state ? ` · ${state}` : ""}`);
  }

  #inspect(start: number | undefined): void {
    this.#inspected = start;
    this.#tell();
  }

  #key(event: KeyboardEvent): void {
    const scale = this.#chart.timeScale();
    if (event.key === "+" || event.key === "-") {
      const factor = event.key === "+" ? 1.25 : 0.8;
      scale.applyOptions({ barSpacing: scale.options().barSpacing * factor });
    } else if (event.key === "Escape") {
      this.#chart.clearCrosshairPosition();
      this.#inspect(undefined);
    } else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      this.#step(event.key === "ArrowLeft" ? -1 : 1);
    } else {
      return;
    }
    event.preventDefault();
  }

  #step(by: number): void {
    const starts = [...this.#known.keys()];
    const at = starts.indexOf(this.#inspected ?? this.#lastStart());
    const to = Math.min(Math.max(at + (this.#inspected === undefined ? 0 : by), 0), starts.length - 1);
    const start = starts[to];
    const candle = start === undefined ? undefined : this.#known.get(start);
    if (start === undefined || !candle) return;
    this.#chart.setCrosshairPosition(Number(candle.close ?? 0), start as Time, this.#prices);
    this.#inspect(start);
  }

  #offerIntervals(): void {
    for (const interval of INTERVALS) {
      const label = make("label");
      const input = make("input");
      input.type = "radio";
      input.name = "interval";
      input.value = interval[0];
      input.checked = interval === this.#interval;
      input.setAttribute("aria-label", interval[2]);
      input.addEventListener("change", () => this.show(this.#product, interval));
      label.append(input, make("span", interval[0]));
      byId("intervals").append(label);
    }
  }
}

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
