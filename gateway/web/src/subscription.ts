// One subscription to all products that goes on for as long as the page is open: it connects again by itself, and goes on where it
// was with the token of the last checkpoint, or with the newest state where there is none.

import { Code, ConnectError, type Client } from "@connectrpc/connect";
import { StreamEventKind, type StreamingService, type SubscribeResponse } from "./gen/ledgerflux/v1/streaming_service_pb";
import { Backoff, sleep, Watchdog } from "./retry";

export type Connection =
  | { state: "connecting" }
  /** Everything from the past has come; `resumed` when it went on where the connection before had ended, and nothing is missing. */
  | { state: "live"; resumed: boolean; again: boolean }
  | { state: "waiting"; untilMs: number; reason: string }
  /** The server wants a key, or another one: it is not asked again without one. */
  | { state: "locked"; reason: string };

export interface Listener {
  message(response: SubscribeResponse): void;
  connection(connection: Connection): void;
  /** What could not be continued, and why. */
  notResumed(reason: string): void;
  /** The key that opened the stream does not count any more, or not for the same. */
  keyEnded(reason: string): void;
}

/** A token as old as this is not worth its history: the newest state is. */
const TOKEN_AGE_MS_MAX = 10 * 60_000;
/** The server says something every few seconds, so that a connection this silent is dead. */
const SILENCE_MS_MAX = 30_000;
/** The answers to a token that will never do. */
const TOKEN_REFUSED = [Code.InvalidArgument, Code.NotFound, Code.OutOfRange, Code.FailedPrecondition, Code.Unimplemented];

export class Subscription {
  #token = "";
  #tokenMs = 0;
  /** How long a server that is going asks to wait. */
  #closingMs = 0;
  #again = false;
  /** Something that happened since the stream was live has not come, and will not. */
  #missed = false;
  readonly #backoff = new Backoff();
  #wake = new AbortController();

  constructor(
    private readonly client: Client<typeof StreamingService>,
    private readonly listener: Listener,
  ) {}

  /** Does not wait any longer: there is a new key, or the network is back. */
  wake(): void {
    this.#wake.abort();
  }

  async run(): Promise<never> {
    for (;;) {
      this.#wake = new AbortController();
      const reason = await this.#once();
      if (reason === undefined) continue;
      if (reason.code === Code.Unauthenticated) {
        this.listener.connection({ state: "locked", reason: reason.rawMessage });
        await sleep(Number.POSITIVE_INFINITY, this.#wake.signal);
        continue;
      }
      const delayMs = Math.max(this.#backoff.next(), this.#closingMs);
      this.listener.connection({ state: "waiting", untilMs: Date.now() + delayMs, reason: reason.rawMessage });
      await sleep(delayMs, this.#wake.signal);
    }
  }

  /** One connection, to its end; undefined when another attempt is due at once. */
  async #once(): Promise<ConnectError | undefined> {
    if (Date.now() - this.#tokenMs > TOKEN_AGE_MS_MAX) this.#token = "";
    const token = this.#token;
    const start = token
      ? { case: "resumeToken" as const, value: token }
      : { case: "snapshot" as const, value: {} };
    this.listener.connection({ state: "connecting" });
    const watchdog = new Watchdog(SILENCE_MS_MAX);
    const again = this.#again;
    let heard = false;
    let isLive = false;
    this.#closingMs = 0;
    try {
      for await (const response of this.client.subscribe({ products: ["*"], start }, { signal: watchdog.signal })) {
        watchdog.feed();
        if (!heard) {
          heard = true;
          this.#backoff.reset();
          this.#again = true;
          this.#missed ||= token === "";
        }
        const kind = response.message.case === "event" ? response.message.value.kind : undefined;
        // What comes behind LIVE is told by itself, and is no matter of where the next connection goes on.
        if (kind === StreamEventKind.NOT_RECOVERED && !isLive) this.#missed = true;
        if (kind === StreamEventKind.LIVE && !isLive) {
          isLive = true;
          this.listener.connection({ state: "live", resumed: !this.#missed, again });
          this.#missed = false;
        }
        this.#remember(response);
        this.listener.message(response);
      }
      return new ConnectError("the server has ended the stream", Code.Unavailable);
    } catch (error) {
      const fault = watchdog.bites ? new ConnectError("the server fell silent", Code.Unavailable) : ConnectError.from(error);
      if (heard && fault.code === Code.Unauthenticated) {
        // It may be there still, and allow something else; the answer to the next attempt says what is wrong with it.
        this.#token = "";
        this.listener.keyEnded(fault.rawMessage);
        return undefined;
      }
      if (!token || heard || !TOKEN_REFUSED.includes(fault.code)) return fault;
      this.#token = "";
      this.listener.notResumed(fault.rawMessage);
      return undefined;
    } finally {
      watchdog.end();
    }
  }

  #remember({ message }: SubscribeResponse): void {
    if (message.case !== "event") return;
    const { kind, retryDelay } = message.value;
    if (kind === StreamEventKind.CLOSING && retryDelay) this.#closingMs = Number(retryDelay.seconds) * 1000 + retryDelay.nanos / 1e6;
    if (!message.value.resumeToken) return;
    this.#token = message.value.resumeToken;
    this.#tokenMs = Date.now();
  }
}
