// What a person does with the page of a gateway that asks for keys:
//
//     SOME=KEY ALL=KEY node gateway/web/browser/keys.mjs URL FOLDER-FOR-PICTURES
//
// `SOME` may see BTC-USD alone. Whoever runs it revokes `SOME` when it says "revoke the key".

import assert from "node:assert/strict";
import { cell, changes, isLive, text, until, withPage } from "./open.mjs";

const [url, pictures] = process.argv.slice(2);
const { SOME, ALL } = process.env;
const NOBODYS = `${SOME.slice(0, -4)}beef`;
const secretOf = (key) => key.slice(key.lastIndexOf("_") + 1);

await withPage(url, pictures, async (page, { picture, account }) => {
  const gaps = [];
  page.on("response", (response) => response.url().endsWith("/ListGaps") && gaps.push(response));

  await asksFor(page, "this server asks for an API key");
  assert.equal(await page.locator("#rows tr").count(), 0);
  await picture("asks");
  await refusesWhatIsNoKey(page);
  await use(page, NOBODYS);
  await asksFor(page, "another key is needed: nobody has this key");
  await isKeptToItself(page, account);

  await use(page, SOME);
  await moves(page, "BTC-USD");
  assert.deepEqual(await products(page), ["BTC-USD"]);
  await until(page, "a feed that is live", () => document.querySelector('td[data-field="feed"]').textContent === "live");
  await until(page, "its candles", () => / C \d+/.test(document.getElementById("legend").textContent));
  await gapsAreTold(gaps);
  assert.match(await text(page, "#examples"), /LEDGERFLUX_KEY/);
  await isKeptToItself(page, account);
  await anotherTabAsksToo(page);

  console.log("revoke the key");
  await until(page, "it says so", () => document.getElementById("connection").dataset.state === "locked");
  console.log("the page knows");
  await asksFor(page, "another key is needed: nobody has this key");
  assert.match(await text(page, "#events"), /the key or token was revoked or changed/);
  await until(page, "no feed is called live", () => !document.getElementById("rows").textContent.includes("live"));
  await picture("revoked");

  await use(page, ALL);
  await moves(page, "ETH-USD");
  assert.deepEqual(await products(page), ["ADA-USD", "BTC-USD", "ETH-USD"]);
  await isKeptToItself(page, account);
  await page.reload();
  await moves(page, "ETH-USD");

  await page.locator("#key-open").click();
  await page.locator("#key-forget").click();
  await asksFor(page, "this server asks for an API key");
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  assert.equal(await page.locator("#rows tr").count(), 0, "what came with the key went with it");
});
console.log("everything held");

/** Says why, and the field for the key is open and waits for it. */
async function asksFor(page, said) {
  await until(page, said, (said) => document.getElementById("connection-text")?.textContent === said, said);
  await until(page, "the field has the focus", () => document.activeElement?.id === "key");
}

/** By keyboard alone: the field has the focus. */
async function use(page, key) {
  await page.keyboard.type(key);
  await Promise.all([page.waitForEvent("load"), page.keyboard.press("Enter")]);
}

async function refusesWhatIsNoKey(page) {
  await page.keyboard.type("two words");
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("#key:invalid").count(), 1);
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  await page.locator("#key").fill("");
}

function products(page) {
  return page.evaluate(() => [...document.querySelectorAll("#rows tr")].map((row) => row.dataset.product));
}

async function moves(page, product) {
  await isLive(page);
  await until(page, product, (product) => document.querySelector(`tr[data-product="${product}"]`), product);
  await changes(page, cell(product, "price"), await text(page, cell(product, "price")));
}

/** Who may see some products only has to ask for the gaps of each. */
async function gapsAreTold(gaps) {
  for (const deadline = Date.now() + 30_000; Date.now() < deadline; await new Promise((resolve) => setTimeout(resolve, 100))) {
    const newest = gaps.at(-1);
    const body = newest && (await newest.body().catch(() => undefined));
    if (body && /grpc-status: ?0/.test(body.toString("latin1"))) return;
  }
  assert.fail(`no call of ${gaps.length} for gaps was answered`);
}

/** No key in what is shown or typed, in an address, or anywhere that outlasts the tab. */
async function isKeptToItself(page, account) {
  const found = await page.evaluate(() => ({
    page: document.documentElement.outerHTML,
    fields: [...document.querySelectorAll("input")].map((input) => input.value).join(" "),
    title: document.title + location.href,
    kept: JSON.stringify({ ...localStorage }) + document.cookie,
  }));
  const places = { ...found, addresses: account.urls.join("\n") };
  assert.equal(found.kept, "{}", "nothing outlasts the tab");
  for (const [place, content] of Object.entries(places)) {
    for (const key of [SOME, ALL, NOBODYS]) assert(!content.includes(secretOf(key)), `a key is in: ${place}`);
  }
}

async function anotherTabAsksToo(page) {
  const other = await page.context().newPage();
  await other.goto(url);
  await asksFor(other, "this server asks for an API key");
  await other.close();
}
