// Thousands of updates a second: the page takes them all and still draws.
//
//     node gateway/web/browser/load.mjs URL FOLDER-FOR-PICTURES UPDATES

import assert from "node:assert/strict";
import { until, withPage } from "./open.mjs";

/** What a person takes for a page that hangs. */
const FREEZE_MS = 1_000;
const [url, pictures, updates] = process.argv.slice(2);

await withPage(url, pictures, async (page) => {
  await until(page, "rows", () => document.querySelectorAll("#rows tr").length >= 20);
  const taken = () => Number(document.getElementById("counts").textContent.split(" ")[0]);
  await page.evaluate(() => {
    window.longestMs = 0;
    window.frames = 0;
    let last = performance.now();
    const frame = (now) => {
      window.longestMs = Math.max(window.longestMs, now - last);
      window.frames += 1;
      last = now;
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
  const [before, started] = [await page.evaluate(taken), Date.now()];
  await until(page, `${updates} updates`, (wanted) => Number(document.getElementById("counts").textContent.split(" ")[0]) >= wanted, before + Number(updates));
  const perSecond = ((await page.evaluate(taken)) - before) / ((Date.now() - started) / 1000);
  await page.locator("#filter").fill("P07");
  assert.equal(await page.locator("#rows tr:visible").count(), 1, "it still answers");
  const { longestMs, frames } = await page.evaluate(() => ({ longestMs: window.longestMs, frames: window.frames }));
  console.log(`${Math.round(perSecond)} updates/s, ${frames} frames, the longest ${Math.round(longestMs)} ms`);
  assert(longestMs < FREEZE_MS, `it froze for ${longestMs} ms at ${perSecond} updates/s`);
});
console.log("everything held");
