// A browser with the page in it, which keeps account of everything that must not happen.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { find, missing } from "./chromium.mjs";

/** How long anything may take; the machine may be busy. */
const PATIENCE_MS = 30_000;

/** Opens `url` and runs `test` with the page; pictures go to `pictures`. `atFirst` runs in the page before its own scripts. */
export async function withPage(url, pictures, test, atFirst = () => {}) {
  const executablePath = find();
  assert(executablePath, missing);
  mkdirSync(pictures, { recursive: true });
  // Chromium's sandbox refuses to run as root; the page that is opened is our own.
  const browser = await chromium.launch({ executablePath, chromiumSandbox: process.getuid?.() !== 0 });
  try {
    const context = await browser.newContext({ viewport: { width: 1280, height: 960 }, colorScheme: "light" });
    await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: new URL(url).origin });
    context.setDefaultTimeout(PATIENCE_MS);
    const page = await context.newPage();
    const account = keepAccount(page, new URL(url).origin);
    await page.addInitScript(() => {
      addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
    });
    await page.addInitScript(atFirst);
    await page.goto(url);
    const picture = async (name) => page.screenshot({ path: join(pictures, `${name}.png`), animations: "disabled" });
    try {
      await test(page, { picture, account });
    } catch (error) {
      await picture("failed");
      console.error(account.faults);
      throw error;
    }
    assert.deepEqual(account.faults, [], "what a browser complains about");
  } finally {
    await browser.close();
  }
}

/** Errors in the console, violations of the policy, and requests to other hosts. */
function keepAccount(page, origin) {
  const account = { faults: [], urls: [], gatewayIsAway: false };
  const fault = (text) => account.faults.push(text);
  page.on("console", (message) => {
    const text = `${message.text()} ${message.location().url ?? ""}`;
    // A browser reports each request that finds nobody, which is what happens to a page whose server is gone.
    const expected = account.gatewayIsAway && /net::ERR_(CONNECTION_REFUSED|INCOMPLETE_CHUNKED|EMPTY_RESPONSE|CONNECTION_RESET)/.test(text);
    if (["error", "warning"].includes(message.type()) && !expected) fault(`console: ${text}`);
  });
  page.on("pageerror", (error) => fault(`error: ${error.stack}`));
  page.on("request", (request) => {
    account.urls.push(request.url());
    if (new URL(request.url()).origin !== origin) fault(`a request to elsewhere: ${request.url()}`);
  });
  return account;
}

/** Waits until `look`, which runs in the page, returns something that is true. */
export async function until(page, what, look, argument) {
  try {
    return await (await page.waitForFunction(look, argument, { timeout: PATIENCE_MS, polling: 100 })).jsonValue();
  } catch (error) {
    throw new Error(`never came true: ${what} (${error.message})`);
  }
}

/** Until messages arrive. */
export const isLive = (page) => until(page, "live", () => document.getElementById("connection").dataset.state === "live");

/** Until a text is another one. */
export const changes = (page, selector, before) =>
  until(page, `${selector} changes`, ([selector, before]) => document.querySelector(selector).textContent !== before, [selector, before]);

export const text = (page, selector) => page.locator(selector).textContent();
export const cell = (product, field) => `tr[data-product="${product}"] td[data-field="${field}"]`;
