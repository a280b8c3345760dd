// The chart, with hours of history before a market that goes on:
//
//     CANDLES=… node gateway/web/browser/history.mjs URL FOLDER-FOR-PICTURES
//
// `CANDLES` has a line for each candle of a minute of BTC-USD, the newest first: its start in seconds, open, high, low, close, trades.
// Whoever runs it adds ticks, some of them a minute, when it says "let the market go on".

import assert from "node:assert/strict";
import { isLive, until, withPage } from "./open.mjs";

const [url, pictures] = process.argv.slice(2);
const expected = process.env.CANDLES.split("\n").map((line) => {
  const [start, open, high, low, close, trades] = line.split(" ");
  return { start: Number(start), numbers: `O ${open}  H ${high}  L ${low}  C ${close}`, trades: Number(trades) };
});

await withPage(url, pictures, async (page, { picture }) => {
  const pages = [];
  page.on("request", (request) => request.url().endsWith("/ListCandles") && pages.push(request));
  await isLive(page);
  await until(page, "a legend", () => / C \d+/.test(document.getElementById("legend").textContent));
  await shows(page, expected[0], "the newest candle");

  // Candle by candle into the past: what stands above the chart is what history says, digit for digit.
  await page.locator("#chart").focus();
  await page.keyboard.press("ArrowLeft");
  for (const candle of expected.slice(1, 40)) {
    await page.keyboard.press("ArrowLeft");
    await shows(page, candle, "a candle of the past");
  }
  await picture("past");
  await page.keyboard.press("Escape");
  await shows(page, expected[0], "the newest candle again");

  // Further out than the first page of history: the next one comes by itself.
  assert.equal(pages.length, 1, "one page of history so far");
  for (let step = 0; pages.length < 2 && step < 40; step += 1) {
    await page.keyboard.press("-");
    await page.waitForTimeout(100);
  }
  assert.equal(pages.length, 2, "the page of history before was asked for");
  await picture("far");
  for (let step = 0; step < 40; step += 1) await page.keyboard.press("+");

  console.log("let the market go on");
  const before = await legend(page);
  await until(page, "the open candle changes", (before) => document.getElementById("legend").textContent !== before, before.text);
  const open = await legend(page);
  assert(open.start === before.start ? open.trades > before.trades : open.start > before.start, `${before.text} became ${open.text}`);
  // New candles follow, and stand one behind the other, up to the one that was open.
  await until(page, "three minutes of the market", ([from]) => {
    const [, day, time] = document.getElementById("legend").textContent.match(/^(\S+) (\S+)/);
    return Date.parse(`${day}T${time}:00Z`) / 1000 >= from + 180;
  }, [before.start]);
  await page.keyboard.press("ArrowLeft");
  for (let start = (await legend(page)).start; start > before.start; start -= 60) {
    await page.keyboard.press("ArrowLeft");
    assert.equal((await legend(page)).start, start - 60);
  }
  await until(page, "what has ended is told as history has it", () => / · (complete|incomplete)/.test(document.getElementById("legend").textContent));
  await picture("followed");
});
console.log("everything held");

async function legend(page) {
  const text = await page.locator("#legend").textContent();
  const [, day, time, trades] = text.match(/^(\S+) (\S+) .* (\d+) trades?/) ?? assert.fail(text);
  return { text, start: Date.parse(`${day}T${time}:00Z`) / 1000, trades: Number(trades) };
}

async function shows(page, { start, numbers, trades }, what) {
  const said = await legend(page);
  assert.equal(said.start, start, `${what}: ${said.text}`);
  assert(said.text.includes(numbers), `${what}: ${said.text} instead of ${numbers}`);
  assert.equal(said.trades, trades, what);
}
