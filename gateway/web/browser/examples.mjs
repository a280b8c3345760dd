// The examples of the page, as a person copies them: one JSON object, name by name.
//
//     KEY=… node gateway/web/browser/examples.mjs URL FOLDER-FOR-PICTURES
//
// With `KEY` the gateway asks for one.

import assert from "node:assert/strict";
import { isLive, until, withPage } from "./open.mjs";

const [url, pictures] = process.argv.slice(2);
const { KEY } = process.env;

await withPage(url, pictures, async (page) => {
  if (KEY) {
    await page.locator("#key").fill(KEY);
    await Promise.all([page.waitForEvent("load"), page.keyboard.press("Enter")]);
  }
  await isLive(page);
  await until(page, "a product is chosen", () => document.getElementById("chart-title").textContent === "BTC-USD");
  if (KEY) await until(page, "the examples show a key", () => document.getElementById("examples").textContent.includes("$LEDGERFLUX_KEY"));
  const examples = {};
  for (const item of await page.locator("#examples details").all()) {
    const name = await item.locator("summary").textContent();
    if (!(await item.evaluate((details) => details.open))) await item.locator("summary").click();
    await item.getByRole("button").click();
    await until(page, `${name} was copied`, (name) => document.querySelector(`[aria-label="Copy the example for ${name}"]`).textContent === "Copied", name);
    examples[name] = await page.evaluate(() => navigator.clipboard.readText());
  }
  assert.deepEqual(Object.keys(examples), ["websocat", "grpcurl", "Python", "ledgerflux"]);
  console.log(JSON.stringify(examples));
});
