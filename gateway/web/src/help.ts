// How to read the same stream with other tools: examples with the address of this page, ready to be copied.

import { byId, make } from "./dom";

interface Example {
  name: string;
  note: string;
  text: string;
}

function examples(product: string, locked: boolean): Example[] {
  const { host, protocol } = location;
  const secure = protocol === "https:";
  const socket = `${secure ? "wss" : "ws"}://${host}/ws`;
  const grpcHost = location.port ? host : `${host}:${secure ? 443 : 80}`;
  const plain = secure ? "" : "-plaintext ";
  const curlKey = locked ? `-H "authorization: Bearer $LEDGERFLUX_KEY" ` : "";
  // With a space behind -H, websocat takes the address for one more header.
  const socketKey = locked ? `-H="Authorization: Bearer $LEDGERFLUX_KEY" ` : "";
  const pythonKey = locked ? `, additional_headers={"Authorization": "Bearer " + os.environ["LEDGERFLUX_KEY"]}` : "";
  const subscribe = JSON.stringify({ op: "subscribe", products: [product], want_snapshot: true });
  const call = (method: string, request: object) =>
    `grpcurl ${plain}${curlKey}-d '${JSON.stringify(request)}' ${grpcHost} ledgerflux.v1.${method}`;
  return [
    {
      name: "websocat",
      note: "JSON over WebSocket: one snapshot, then a message for each change.",
      text: `echo '${subscribe}' | \\\n  websocat --no-close ${socketKey}'${socket}'`,
    },
    {
      name: "grpcurl",
      note: "The server describes itself (reflection), so that no files are needed.",
      text: [
        call("MarketDataService/GetLatestPrice", { product }),
        call("MarketDataService/ListCandles", { product, interval: "CANDLE_INTERVAL_ONE_MINUTE" }),
        // It goes on until it is stopped, so that it is the last one for whoever copies all of them.
        call("StreamingService/Subscribe", { products: [product] }),
      ].join("\n"),
    },
    {
      name: "Python",
      note: "pip install websockets; numbers=string keeps every digit.",
      text: `import asyncio, json${locked ? ", os" : ""}
from decimal import Decimal
import websockets

async def main():
    async with websockets.connect("${socket}?numbers=string"${pythonKey}) as socket:
        await socket.send(json.dumps({"op": "subscribe", "products": ["${product}"], "want_snapshot": True}))
        async for frame in socket:
            message = json.loads(frame)
            trade = message["op"] == "incr" and message["data"]["fields"].get("last_trade")
            if trade:
                print(message["data"]["product"], Decimal(trade["px"]), Decimal(trade["qty"]))

asyncio.run(main())`,
    },
    {
      name: "ledgerflux",
      note: "The same table in a terminal, and one JSON line per event in a pipe.",
      text: `ledgerflux watch ${product} --server ${location.origin}`,
    },
  ];
}

/** Shows the examples for a product; `locked`: the server asks for keys. */
export function showExamples(product: string, locked: boolean): void {
  byId("examples-key").hidden = !locked;
  const open = [...byId("examples").querySelectorAll("details")].map((found) => found.open);
  const items = examples(product, locked).map(({ name, note, text }, at) => {
    const item = make("details");
    item.open = open[at] ?? at === 0;
    const code = make("code", text);
    const block = make("pre");
    block.tabIndex = 0;
    block.append(code);
    const copy = make("button", "Copy");
    copy.type = "button";
    copy.setAttribute("aria-label", `Copy the example for ${name}`);
    copy.addEventListener("click", () => void copyText(copy, code));
    const body = make("div", "", "example");
    body.append(block, copy);
    item.append(make("summary", name), make("p", note, "quiet"), body);
    return item;
  });
  byId("examples").replaceChildren(...items);
}

/** To the clipboard, which only pages of https or of this machine may write to; elsewhere the text is selected instead. */
async function copyText(button: HTMLButtonElement, code: HTMLElement): Promise<void> {
  let said = "Copied";
  try {
    await navigator.clipboard.writeText(code.textContent ?? "");
  } catch {
    getSelection()?.selectAllChildren(code);
    said = "Selected";
  }
  button.textContent = said;
  setTimeout(() => (button.textContent = "Copy"), 1_500);
}
