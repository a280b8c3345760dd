// The live table. It is drawn once per animation frame at most, and only where something has changed.

import { compare, percent, subtract, trimmed } from "./decimal";
import { byId, make, setText } from "./dom";
import { FeedState } from "./gen/ledgerflux/v1/event_pb";
import type { Market, Product } from "./market";
import { describe } from "./times";

const COLUMNS = [
  ["price", "Price"], ["change", "24 h"], ["bid", "Bid"], ["ask", "Ask"], ["spread", "Spread"],
  ["volume", "Volume 24 h"], ["age", "Age"], ["feed", "Feed"],
] as const;
type Column = (typeof COLUMNS)[number][0];
type SortKey = "name" | "price" | "change" | "age";

const OLD_MS = 60_000;
const FLASH_MS = 700;
const NONE = "–";

const FEED_TEXT: Record<FeedState, string> = {
  [FeedState.UNSPECIFIED]: NONE,
  [FeedState.CONNECTING]: "connecting",
  [FeedState.LIVE]: "live",
  [FeedState.STALE]: "stale",
  [FeedState.BACKING_OFF]: "down",
  [FeedState.GAP]: "gap",
};

interface Row {
  product: Product;
  line: HTMLTableRowElement;
  cells: Record<Column, HTMLTableCellElement>;
  shownPrice?: string;
  change?: number;
}

export class Table {
  /** The clock of the server against that of this device. */
  clockOffsetMs = 0;
  paused = false;
  readonly #rows = new Map<string, Row>();
  readonly #body = byId("rows");
  readonly #filter = byId<HTMLInputElement>("filter");
  readonly #calm = matchMedia("(prefers-reduced-motion: reduce)");
  #sort: { by: SortKey; descending: boolean } = { by: "name", descending: false };
  #selected = "";

  constructor(
    private readonly market: Market,
    private readonly onSelect: (product: string) => void,
  ) {
    this.#filter.addEventListener("input", () => this.#arrange());
    this.#body.addEventListener("keydown", (event) => this.#key(event));
    this.#body.addEventListener("click", (event) => {
      const line = (event.target as Element).closest("tr");
      if (line?.dataset.product) this.select(line.dataset.product);
    });
    for (const button of document.querySelectorAll<HTMLButtonElement>("[data-sort]")) {
      button.addEventListener("click", () => this.#sortBy(button));
    }
    setInterval(() => this.#tick(), 500);
    setInterval(() => this.#sort.by !== "name" && !this.paused && this.#arrange(), 3_000);
  }

  /** Draws what has changed since the last frame. */
  draw(): void {
    if (this.paused || this.market.changed.size === 0) return;
    const known = this.#rows.size;
    for (const product of this.market.changed) this.#show(this.#row(product));
    this.market.changed.clear();
    if (this.#rows.size !== known) this.#arrange();
  }

  select(name: string): void {
    if (!this.#rows.has(name) || this.#selected === name) return;
    this.#rows.get(this.#selected)?.line.setAttribute("aria-selected", "false");
    this.#rows.get(name)?.line.setAttribute("aria-selected", "true");
    this.#selected = name;
    this.#makeReachable();
    this.onSelect(name);
  }

  #row(product: Product): Row {
    const known = this.#rows.get(product.name);
    if (known) return known;
    const line = document.createElement("tr");
    line.dataset.product = product.name;
    line.tabIndex = -1;
    line.setAttribute("aria-selected", "false");
    const name = make("th", product.name);
    name.scope = "row";
    line.append(name);
    const cells = {} as Row["cells"];
    for (const [column, label] of COLUMNS) {
      const cell = make("td", NONE, column === "feed" ? "" : "number");
      cell.dataset.field = column;
      cell.dataset.label = label;
      cells[column] = cell;
      line.append(cell);
    }
    const row: Row = { product, line, cells };
    this.#rows.set(product.name, row);
    byId("empty").hidden = true;
    return row;
  }

  #show(row: Row): void {
    const { product, cells } = row;
    this.#showPrice(row);
    setText(cells.bid, product.bid ?? NONE);
    setText(cells.ask, product.ask ?? NONE);
    setText(cells.spread, (product.bid && product.ask && subtract(product.ask, product.bid)) || NONE);
    setText(cells.volume, product.volume ? trimmed(product.volume) : NONE);
    row.change = product.price && product.open ? percent(product.price, product.open) : undefined;
    const change = row.change;
    // What rounds to nothing is neither up nor down.
    const rounded = change === undefined ? 0 : Math.round(change * 100);
    setText(cells.change, change === undefined ? NONE : `${rounded > 0 ? "+" : ""}${(rounded / 100).toFixed(2)} %`);
    cells.change.dataset.trend = rounded === 0 ? "" : rounded > 0 ? "up" : "down";
    setText(cells.feed, FEED_TEXT[product.feed] ?? NONE);
    cells.feed.dataset.state = FeedState[product.feed]?.toLowerCase() ?? "";
  }

  /** A price flashes when it is another number, and not when only its zeros differ or it came back between two frames. */
  #showPrice(row: Row): void {
    const { price } = row.product;
    if (!price || price === row.shownPrice) return;
    const moved = row.shownPrice === undefined ? 0 : compare(price, row.shownPrice);
    row.shownPrice = price;
    const cell = row.cells.price;
    setText(cell, price);
    if (moved === 0) return;
    cell.dataset.trend = moved > 0 ? "up" : "down";
    if (this.#calm.matches) return;
    for (const running of cell.getAnimations()) running.cancel();
    const color = `var(--flash-${cell.dataset.trend})`;
    cell.animate([{ backgroundColor: color }, { backgroundColor: "transparent" }], FLASH_MS);
  }

  /** What changes without an update: the time since. */
  #tick(): void {
    if (this.paused) return;
    const now = Date.now() + this.clockOffsetMs;
    for (const { product, cells } of this.#rows.values()) {
      if (product.eventMs === undefined) continue;
      const ageMs = Math.max(0, now - product.eventMs);
      setText(cells.age, describe(ageMs));
      cells.age.classList.toggle("old", ageMs > OLD_MS);
    }
    const { updates, skipped } = this.market;
    setText(byId("counts"), `${updates} updates${skipped ? `, ${skipped} skipped for newer ones` : ""}`);
  }

  #sortBy(button: HTMLButtonElement): void {
    const by = button.dataset.sort as SortKey;
    this.#sort = { by, descending: this.#sort.by === by ? !this.#sort.descending : by !== "name" };
    for (const other of document.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
    button.closest("th")?.setAttribute("aria-sort", this.#sort.descending ? "descending" : "ascending");
    this.#arrange();
  }

  #arrange(): void {
    const order: Record<SortKey, (a: Row, b: Row) => number> = {
      name: (a, b) => a.product.name.localeCompare(b.product.name),
      price: (a, b) => compare(a.product.price, b.product.price),
      change: (a, b) => (a.change ?? -Infinity) - (b.change ?? -Infinity),
      age: (a, b) => (b.product.eventMs ?? 0) - (a.product.eventMs ?? 0),
    };
    const rows = [...this.#rows.values()].sort(order[this.#sort.by]);
    if (this.#sort.descending) rows.reverse();
    const focus = document.activeElement;
    const wanted = this.#filter.value.trim().toUpperCase();
    for (const row of rows) row.line.hidden = !row.product.name.includes(wanted);
    const lines = rows.map((row) => row.line);
    if (lines.some((line, at) => this.#body.children[at] !== line)) {
      this.#body.append(...lines);
      if (focus instanceof HTMLElement && this.#body.contains(focus)) focus.focus({ preventScroll: true });
    }
    this.#makeReachable();
  }

  #visible(): HTMLTableRowElement[] {
    return [...this.#body.querySelectorAll("tr")].filter((line) => !line.hidden);
  }

  /** Tab reaches one row, the selected one where it is there; the arrows reach the others. */
  #makeReachable(): void {
    const lines = this.#visible();
    const reached = lines.find((line) => line.dataset.product === this.#selected) ?? lines[0];
    for (const row of this.#rows.values()) row.line.tabIndex = row.line === reached ? 0 : -1;
  }

  #key(event: KeyboardEvent): void {
    const lines = this.#visible();
    const at = lines.findIndex((line) => line === document.activeElement);
    if (at < 0) return;
    if (event.key === "Enter" || event.key === " ") this.select(lines[at]?.dataset.product ?? "");
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: lines.length - 1 }[event.key];
    if (to !== undefined) lines[Math.min(Math.max(to, 0), lines.length - 1)]?.focus();
    if (to !== undefined || event.key === "Enter" || event.key === " ") event.preventDefault();
  }
}
