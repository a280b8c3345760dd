// Live prices over /ws. Prices and sizes stay text from the exchange to the screen: they are compared and subtracted as
// decimals, and only a percentage, which is no price, is a floating-point number.

const RECONNECT_MS_MIN = 500;
const RECONNECT_MS_MAX = 15_000;
const SILENCE_MS_MAX = 45_000;
const PING_MS = 15_000;
const EVENTS_MAX = 50;
const OLD_MS = 60_000;

const element = (id) => document.getElementById(id);
const rows = new Map();
let sort = { by: "product", descending: false };
let paused = false;
let ticks = 0;
let skipped = 0;

// ---- Decimals ------------------------------------------------------------------------------------------------------

function parseDecimal(text) {
  const match = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text);
  if (!match) return null;
  const fraction = match[3] ?? "";
  const digits = BigInt(match[2] + fraction);
  return { digits: match[1] ? -digits : digits, scale: fraction.length };
}

function align(left, right) {
  const scale = Math.max(left.scale, right.scale);
  const shift = (number) => number.digits * 10n ** BigInt(scale - number.scale);
  return [shift(left), shift(right), scale];
}

function formatDecimal(digits, scale) {
  const sign = digits < 0n ? "-" : "";
  const text = (digits < 0n ? -digits : digits).toString().padStart(scale + 1, "0");
  const whole = text.slice(0, text.length - scale);
  return scale ? `${sign}${whole}.${text.slice(-scale)}` : sign + whole;
}

function subtract(left, right) {
  const [a, b] = [parseDecimal(left), parseDecimal(right)];
  if (!a || !b) return null;
  const [x, y, scale] = align(a, b);
  return formatDecimal(x - y, scale);
}

function compare(left, right) {
  const [a, b] = [parseDecimal(left ?? ""), parseDecimal(right ?? "")];
  if (!a || !b) return a ? 1 : b ? -1 : 0;
  const [x, y] = align(a, b);
  return x < y ? -1 : x > y ? 1 : 0;
}

// Percent, rounded to two decimals.
function percent(now, before) {
  const [a, b] = [parseDecimal(now), parseDecimal(before)];
  if (!a || !b || b.digits === 0n) return null;
  const [x, y] = align(a, b);
  return Number(((x - y) * 1_000_000n) / y) / 10_000;
}

// ---- Rows ----------------------------------------------------------------------------------------------------------

const COLUMNS = [
  ["price", "Price"], ["change", "Change"], ["bid", "Bid"], ["ask", "Ask"],
  ["spread", "Spread"], ["age", "Age"], ["sequence", "Sequence"],
];

function rowOf(product) {
  const known = rows.get(product);
  if (known) return known;
  const line = document.createElement("tr");
  const name = document.createElement("th");
  name.scope = "row";
  name.textContent = product;
  line.append(name);
  const cells = {};
  for (const [key, label] of COLUMNS) {
    const cell = document.createElement("td");
    cell.className = key === "price" ? "number price" : "number";
    if (key !== "price") cell.dataset.label = label;
    cells[key] = cell;
    line.append(cell);
  }
  const row = { product, line, cells, first: null, open: null, price: null, bid: null, ask: null, at: null, seq: null };
  rows.set(product, row);
  element("rows").append(line);
  element("empty").hidden = true;
  arrange();
  return row;
}

function take(data, fields, at) {
  const row = rowOf(data.product);
  const before = row.price;
  if (fields.last_trade) row.price = fields.last_trade.px;
  if (fields.best_bid) row.bid = fields.best_bid.px;
  if (fields.best_ask) row.ask = fields.best_ask.px;
  if (fields.day?.open_24h) row.open = fields.day.open_24h;
  row.first ??= row.price;
  if (at) row.at = Number(BigInt(at) / 1_000_000n);
  row.seq = data.seq;
  row.moved = before && row.price ? compare(row.price, before) : 0;
  row.dirty = true;
  ticks += 1;
  skipped += data.skipped ?? 0;
}

function show(row) {
  const { cells } = row;
  cells.price.textContent = row.price ?? "–";
  cells.bid.textContent = row.bid ?? "–";
  cells.ask.textContent = row.ask ?? "–";
  cells.spread.textContent = (row.bid && row.ask && subtract(row.ask, row.bid)) || "–";
  cells.sequence.textContent = row.seq ? String(row.seq) : "–";
  const since = row.open ?? row.first;
  const change = row.price && since ? percent(row.price, since) : null;
  row.change = change;
  cells.change.textContent = change === null ? "–" : `${change > 0 ? "+" : ""}${change.toFixed(2)} %${row.open ? "" : " ·"}`;
  cells.change.classList.toggle("up", change > 0);
  cells.change.classList.toggle("down", change < 0);
  if (row.moved) {
    const flash = row.moved > 0 ? "flash-up" : "flash-down";
    cells.price.classList.add(flash);
    requestAnimationFrame(() => requestAnimationFrame(() => cells.price.classList.remove("flash-up", "flash-down")));
    row.moved = 0;
  }
  row.dirty = false;
}

function showAge(row) {
  if (row.at === null) return;
  const age = Math.max(0, Date.now() - row.at);
  row.cells.age.textContent = describe(age);
  row.cells.age.classList.toggle("old", age > OLD_MS);
}

function describe(ms) {
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3_600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

function arrange() {
  const by = {
    product: (a, b) => a.product.localeCompare(b.product),
    price: (a, b) => compare(a.price, b.price),
    change: (a, b) => (a.change ?? -Infinity) - (b.change ?? -Infinity),
    age: (a, b) => (b.at ?? 0) - (a.at ?? 0),
  }[sort.by];
  const ordered = [...rows.values()].sort(by);
  if (sort.descending) ordered.reverse();
  const focus = document.activeElement;
  element("rows").append(...ordered.map((row) => row.line));
  if (focus instanceof HTMLElement) focus.focus({ preventScroll: true });
  filter();
}

function filter() {
  const wanted = element("filter").value.trim().toUpperCase();
  for (const row of rows.values()) row.line.hidden = !row.product.includes(wanted);
}

function paint() {
  if (!paused) {
    for (const row of rows.values()) {
      if (row.dirty) show(row);
    }
    element("counts").textContent = `${ticks} updates, ${skipped} skipped`;
  }
  requestAnimationFrame(paint);
}

// ---- Events --------------------------------------------------------------------------------------------------------

function tell(text) {
  const list = element("events");
  list.querySelector(".quiet")?.remove();
  const item = document.createElement("li");
  const time = document.createElement("time");
  const now = new Date();
  time.dateTime = now.toISOString();
  time.textContent = now.toLocaleTimeString();
  item.append(time, document.createTextNode(text));
  list.prepend(item);
  while (list.children.length > EVENTS_MAX) list.lastElementChild.remove();
}

function eventText(data) {
  const about = data.product ? `${data.product}: ` : "";
  if (data.type === "gap") return `${about}trades ${data.first_trade_id} to ${data.last_trade_id} are missing`;
  if (data.type === "repaired") return `${about}${data.repaired_count} missing trades were fetched`;
  if (data.type === "missed") return `${about}some updates were missed; the newest state follows`;
  return about + String(data.type).replaceAll("_", " ");
}

// ---- Connection ----------------------------------------------------------------------------------------------------

let delay = RECONNECT_MS_MIN;

function state(name, text) {
  element("connection").dataset.state = name;
  element("connection-text").textContent = text;
}

function connect() {
  state("connecting", "connecting");
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(`${scheme}//${location.host}/ws?numbers=string`);
  let heard = Date.now();
  const watch = setInterval(() => {
    if (Date.now() - heard > SILENCE_MS_MAX) socket.close();
    else if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ op: "ping", t: Date.now() }));
  }, PING_MS);
  socket.addEventListener("open", () => {
    delay = RECONNECT_MS_MIN;
    state("live", "connected");
    socket.send(JSON.stringify({ op: "subscribe", products: ["*"], want_snapshot: true, want_events: true }));
    about();
  });
  socket.addEventListener("message", (message) => {
    heard = Date.now();
    receive(JSON.parse(message.data));
  });
  socket.addEventListener("close", (close) => {
    clearInterval(watch);
    const wait = delay * (0.5 + Math.random() / 2);
    delay = Math.min(delay * 2, RECONNECT_MS_MAX);
    state("waiting", `disconnected, trying again in ${(wait / 1000).toFixed(1)} s`);
    if (close.reason) tell(`connection closed: ${close.reason}`);
    setTimeout(connect, wait);
  });
}

function receive(frame) {
  const { op, data } = frame;
  if (op === "incr") take(data, data.fields, data.ts_event);
  else if (op === "snapshot") take(data, data.state, data.state.last_update);
  else if (op === "event") tell(eventText(data));
  else if (op === "rate_limit") tell("too many updates for one connection: only the newest of each product are shown");
  else if (op === "error") tell(`${frame.code}: ${frame.msg}`);
}

async function about() {
  try {
    const info = await (await fetch("info.json")).json();
    element("version").textContent = `LedgerFlux ${info.version}`;
    const banner = element("banner");
    const said = { simulated: "Simulated data: this is no market", replay: `Replay of ${info.file ?? "a recording"}: this is the past` };
    banner.textContent = said[info.feed] ?? "";
    banner.hidden = !said[info.feed];
  } catch {
    // The next connection asks again.
  }
}

// ---- Controls ------------------------------------------------------------------------------------------------------

element("filter").addEventListener("input", filter);
element("pause").addEventListener("click", (click) => {
  paused = !paused;
  click.currentTarget.setAttribute("aria-pressed", String(paused));
});
for (const button of document.querySelectorAll("[data-sort]")) {
  button.addEventListener("click", () => {
    const by = button.dataset.sort;
    sort = { by, descending: sort.by === by ? !sort.descending : by !== "product" };
    for (const other of document.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
    button.closest("th").setAttribute("aria-sort", sort.descending ? "descending" : "ascending");
    arrange();
  });
}
setInterval(() => {
  if (!paused) for (const row of rows.values()) showAge(row);
}, 500);
setInterval(() => {
  if (!paused && sort.by !== "product") arrange();
}, 3_000);

about();
connect();
requestAnimationFrame(paint);
