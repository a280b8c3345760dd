// What the connection is doing, and the form for the key that a server may ask for.

import { byId, setText } from "./dom";
import type { Events } from "./events";
import { key, setKey } from "./key";
import type { Connection } from "./subscription";

export class ConnectionView {
  #connection: Connection = { state: "connecting" };
  #lost = false;

  constructor(private readonly events: Events) {
    setInterval(() => this.#draw(), 250);
    this.offerKey(false);
    byId("key-open").addEventListener("click", () => this.#open(byId("key-form").hidden !== false));
    byId("key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#use(byId<HTMLInputElement>("key").value.trim());
    });
    byId("key-forget").addEventListener("click", () => this.#use(""));
  }

  /** A server that asks for no key needs no field for one. */
  offerKey(wanted: boolean): void {
    byId("key-open").hidden = !wanted && !key();
  }

  /** Up to here nothing will be missed, whatever happens to the connection. */
  checkpoint(timeMs: number): void {
    byId("connection").dataset.checkpoint = String(timeMs);
    byId("connection").title = `Newest checkpoint: ${new Date(timeMs).toLocaleTimeString()}`;
  }

  show(connection: Connection): void {
    this.#connection = connection;
    if (connection.state === "live" && connection.again) {
      const how = connection.resumed ? "it goes on where it was" : "it starts again with the newest state";
      this.events.tell(`connected again: ${how}`, "good");
      this.#lost = false;
    }
    if (connection.state === "waiting" && !this.#lost) {
      this.events.tell(`connection lost: ${connection.reason}`, "bad");
      this.#lost = true;
    }
    if (connection.state === "locked") {
      this.offerKey(true);
      this.#open(true);
    }
    this.#draw();
  }

  /** What is on the screen came with the key before, and may be more than this one allows: the page starts anew. */
  #use(text: string): void {
    setKey(text);
    location.reload();
  }

  #open(open: boolean): void {
    byId("key-form").hidden = !open;
    byId("key-forget").hidden = !key();
    byId("key-open").setAttribute("aria-expanded", String(open));
    if (open) byId("key").focus();
  }

  #draw(): void {
    const connection = this.#connection;
    byId("connection").dataset.state = connection.state;
    setText(byId("connection-text"), textOf(connection));
  }
}

function textOf(connection: Connection): string {
  switch (connection.state) {
    case "connecting":
      return "connecting";
    case "live":
      return connection.resumed ? "live, resumed" : "live";
    case "locked":
      return key() ? `another key is needed: ${connection.reason}` : "this server asks for an API key";
    case "waiting": {
      const seconds = Math.ceil((connection.untilMs - Date.now()) / 1000);
      return seconds > 0 ? `disconnected, next attempt in ${seconds} s` : "disconnected, trying";
    }
  }
}
