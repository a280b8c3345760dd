// What a person does with the page, in a real browser against a real gateway:
//
//     node gateway/web/browser/page.mjs URL FOLDER-FOR-PICTURES
//
// Whoever runs it kills the gateway when it says "kill the gateway" and starts it again, on the same port, when it says "start the
// gateway". It ends with 0 when everything held.

import assert from "node:assert/strict";
import { cell, changes, isLive, text, until, withPage } from "./open.mjs";

/** The narrowest phones that are sold. */
const PHONE_WIDTH = 360;
const [url, pictures] = process.argv.slice(2);

await withPage(url, pictures, async (page, { picture, account }) => {
  await pricesMove(page);
  await numbersAreExact(page);
  await chartFollows(page);
  await picture("light");
  await keysSuffice(page);
  await darkIsReadable(page, picture);
  await phoneIsReadable(page, picture);
  await killedGatewayIsSurvived(page, picture, account);
});
console.log("everything held");

async function pricesMove(page) {
  await isLive(page);
  await until(page, "three products", () => document.querySelectorAll("#rows tr").length >= 3);
  assert.match(await text(page, "#banner"), /Simulated data/);
  // Each change of the text must be a change of the number: what stays the same is not painted again.
  await page.evaluate(() => {
    window.repainted = 0;
    const seen = (changes) => changes.forEach(({ target, removedNodes }) => (window.repainted += target.textContent === removedNodes[0]?.textContent));
    const observer = new MutationObserver(seen);
    for (const price of document.querySelectorAll("td")) observer.observe(price, { childList: true });
  });
  for (const product of ["BTC-USD", "ETH-USD"]) {
    const before = await text(page, cell(product, "price"));
    assert.match(before, /^\d+(\.\d+)?$/);
    await changes(page, cell(product, "price"), before);
  }
  assert.equal(await page.evaluate(() => window.repainted), 0, "a text was replaced by itself");
  await until(page, "ages", () => /^\d/.test(document.querySelector('td[data-field="age"]').textContent));
  await until(page, "a feed that is live", () => document.querySelector('td[data-field="feed"]').textContent === "live");
}

async function numbersAreExact(page) {
  const row = await page.evaluate(() => {
    const of = (field) => document.querySelector(`tr[data-product="BTC-USD"] td[data-field="${field}"]`).textContent;
    return { bid: of("bid"), ask: of("ask"), spread: of("spread") };
  });
  const cents = (number) => {
    const [whole, fraction = ""] = number.split(".");
    return BigInt(whole + fraction.padEnd(20, "0"));
  };
  assert.equal(cents(row.ask) - cents(row.bid), cents(row.spread), JSON.stringify(row));
}

/** How many pixels of the chart have the colour of a candle, and what they look like as one number. */
function paintedCandles() {
  const copy = () => document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const probe = copy();
  const channels = (name) => {
    probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    probe.fillRect(0, 0, 1, 1);
    return probe.getImageData(0, 0, 1, 1).data;
  };
  const wanted = [channels("--up"), channels("--down")].map(([r, g, b]) => (r << 16) | (g << 8) | b);
  let [count, sum] = [0, 0];
  for (const canvas of document.querySelectorAll("#chart td:nth-child(2) canvas")) {
    if (!canvas.width || !canvas.height) continue;
    const context = copy();
    Object.assign(context.canvas, { width: canvas.width, height: canvas.height });
    context.drawImage(canvas, 0, 0);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    for (let at = 0; at < data.length; at += 4) {
      if (!wanted.includes((data[at] << 16) | (data[at + 1] << 8) | data[at + 2])) continue;
      count += 1;
      sum = (sum * 31 + at) % 1_000_000_007;
    }
  }
  return { count, sum };
}

async function chartFollows(page) {
  assert.equal(await text(page, "#chart-title"), "BTC-USD");
  await until(page, "a legend", () => / C \d+/.test(document.getElementById("legend").textContent));
  const painted = () => page.evaluate(paintedCandles);
  const look = async (what, holds) => {
    for (const deadline = Date.now() + 30_000; Date.now() < deadline; await page.waitForTimeout(100)) {
      if (holds(await painted())) return;
    }
    assert.fail(`never came true: ${what}`);
  };
  await look("candles are drawn", ({ count }) => count > 30);
  const [legend, before] = [await text(page, "#legend"), await painted()];
  await changes(page, "#legend", legend);
  await look("the open candle moves", ({ sum }) => sum !== before.sum);
}

async function keysSuffice(page) {
  await page.locator("#filter").focus();
  await page.keyboard.press("Tab"); // Pause
  for (let tabs = 0; tabs < 8 && !(await page.evaluate(() => document.activeElement.matches("#rows tr"))); tabs += 1) {
    await page.keyboard.press("Tab");
  }
  const focused = () => page.evaluate(() => document.activeElement.dataset.product);
  assert.equal(await focused(), "BTC-USD", "Tab reaches the selected row");
  await page.keyboard.press("Home");
  assert.equal(await focused(), "ADA-USD");
  await page.keyboard.press("End");
  assert.equal(await focused(), "ETH-USD");
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.notEqual(outline, "none", "the focus can be seen");
  await page.keyboard.press("Enter");
  assert.equal(await text(page, "#chart-title"), "ETH-USD");
  assert.equal(await page.locator('tr[aria-selected="true"]').getAttribute("data-product"), "ETH-USD");
  await until(page, "candles of ETH-USD", () => / C \d+/.test(document.getElementById("legend").textContent));

  await page.locator("#intervals input").first().focus();
  await page.keyboard.press("ArrowRight");
  assert.match(await page.locator("#chart").getAttribute("aria-label"), /ETH-USD.*5 minutes/);
  await until(page, "a candle of five minutes", () => /:[0-5][05] .* C \d+/.test(document.getElementById("legend").textContent));
  await page.locator("#chart").focus();
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("Escape");

  await page.locator("#examples summary").nth(1).focus();
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab"); // the text, which scrolls
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await until(page, "it says that it was copied", () => document.activeElement.textContent === "Copied");
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(copied, /grpcurl -plaintext /);
  assert(copied.includes(new URL(url).host) && copied.includes("ETH-USD"), copied);
  await page.evaluate(() => document.activeElement.blur());
  await page.locator("#examples summary").nth(1).click();
}

/** The lowest contrast of what is written on this page, by the rules of WCAG 2. */
function lowestContrast() {
  const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const colour = channels(getComputedStyle(element).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const written = [...document.querySelectorAll("h1, h2, p, th, td, button, span, time, summary, a, code")];
  const contrasts = written
    .filter((element) => element.textContent.trim() && element.checkVisibility() && !element.closest("#chart"))
    // A price that has just moved stands on a colour that fades.
    .filter((element) => element.dataset.field !== "price")
    .map((element) => {
      const [a, b] = [luminance(channels(getComputedStyle(element).color)), luminance(ground(element))];
      return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.outerHTML.slice(0, 120)];
    });
  return contrasts.sort(([a], [b]) => a - b)[0];
}

async function darkIsReadable(page, picture) {
  const readable = async (scheme) => {
    const [contrast, where] = await page.evaluate(lowestContrast);
    assert(contrast >= 4.5, `${scheme}: contrast ${contrast.toFixed(2)} at ${where}`);
  };
  await readable("light");
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await background();
  await page.emulateMedia({ colorScheme: "dark" });
  assert.notEqual(await background(), light);
  await readable("dark");
  await page.evaluate(() => scrollTo(0, 0));
  await until(page, "candles", () => / C \d+/.test(document.getElementById("legend").textContent));
  await picture("dark");
}

async function phoneIsReadable(page, picture) {
  await page.setViewportSize({ width: PHONE_WIDTH, height: 740 });
  await page.evaluate(() => scrollTo(0, 0));
  // Everything, also what is folded: an example that is open scrolls within itself.
  await page.evaluate(() => document.querySelectorAll("#examples details").forEach((example) => (example.open = true)));
  const [width, wide] = await page.evaluate(() => {
    const wide = [...document.querySelectorAll("body *")].filter((element) => element.getBoundingClientRect().right > innerWidth + 1);
    const within = wide.filter((element) => !element.closest("pre, thead, .unseen"));
    return [document.documentElement.scrollWidth, within.map((element) => element.outerHTML.slice(0, 120))];
  });
  assert(width <= PHONE_WIDTH, `the page is ${width} wide: ${wide.join("\n")}`);
  assert.deepEqual(wide, [], "what is cut off");
  await page.evaluate(() => document.querySelectorAll("#examples details").forEach((example, at) => (example.open = at === 0)));
  const box = await page.locator(cell("ETH-USD", "price")).boundingBox();
  assert(box && box.x >= 0 && box.x + box.width <= PHONE_WIDTH, JSON.stringify(box));
  await picture("phone-dark");
  await page.emulateMedia({ colorScheme: "light" });
  await picture("phone-light");
  await page.locator("#chart").scrollIntoViewIfNeeded();
  await picture("phone-chart");
  await page.setViewportSize({ width: 1280, height: 960 });
}

async function killedGatewayIsSurvived(page, picture, account) {
  await until(page, "a checkpoint to resume from", () => document.getElementById("connection").dataset.checkpoint);
  account.gatewayIsAway = true;
  console.log("kill the gateway");
  await until(page, "the page says so", () => document.getElementById("connection").dataset.state === "waiting");
  assert.match(await text(page, "#connection-text"), /disconnected/);
  await until(page, "an event says so", () => document.getElementById("events").textContent.includes("connection lost"));
  await page.evaluate(() => scrollTo(0, 0));
  await picture("lost");
  const [price, legend] = [await text(page, cell("BTC-USD", "price")), await text(page, "#legend")];
  console.log("start the gateway");
  await isLive(page);
  // The bus was a part of what died: what is there now is another history, and nothing of the one before can be continued.
  await until(page, "it starts again", () =>
    document.getElementById("events").textContent.includes("connected again: it starts again with the newest state"));
  assert.match(await text(page, "#events"), /what was missed could not be recovered/);
  assert.equal(await text(page, "#connection-text"), "live");
  account.gatewayIsAway = false;
  await changes(page, cell("BTC-USD", "price"), price);
  await changes(page, "#legend", legend);
  await until(page, "candles again", () => / C \d+/.test(document.getElementById("legend").textContent));
  await page.evaluate(() => scrollTo(0, 0));
  await picture("again");
}
