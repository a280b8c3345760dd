// The feed of gaps and events: what the stream says, what history knows, and what happens to the connection.

import { byId, make } from "./dom";
import { GapCause, GapState, type Gap } from "./gen/ledgerflux/v1/event_pb";
import { StreamEventKind, type StreamEvent } from "./gen/ledgerflux/v1/streaming_service_pb";
import { describe, milliseconds } from "./times";

const EVENTS_MAX = 100;

const CAUSES: Partial<Record<GapCause, string>> = {
  [GapCause.DISCONNECT]: "for the connection to the exchange was lost",
  [GapCause.RESTART]: "for nothing was running",
  [GapCause.DROP]: "for the feed left them out",
  [GapCause.BATCHED]: "for the exchange put several into one message",
  [GapCause.OVERFLOW]: "for there was no room for them",
};

export type Tone = "good" | "bad" | "plain";

export class Events {
  readonly #list = byId("events");

  /** The newest stands first. What has a `name` is told once, however often it is heard of. */
  tell(text: string, tone: Tone = "plain", timeMs = Date.now(), name = ""): void {
    if (name && [...this.#list.children].some((other) => (other as HTMLElement).dataset.name === name)) return;
    this.#list.querySelector("li.quiet")?.remove();
    const item = make("li");
    item.dataset.name = name;
    item.dataset.tone = tone;
    const when = new Date(timeMs);
    const time = make("time", when.toLocaleTimeString());
    time.dateTime = when.toISOString();
    item.dataset.time = String(timeMs);
    item.append(time, make("span", text));
    const after = [...this.#list.children].find((other) => Number((other as HTMLElement).dataset.time) <= timeMs);
    this.#list.insertBefore(item, after ?? null);
    while (this.#list.children.length > EVENTS_MAX) this.#list.lastElementChild?.remove();
  }

  /** A gap as history knows it. */
  gap(gap: Gap): void {
    this.tell(gapText(gap), gapTone(gap), gap.detectTime && milliseconds(gap.detectTime), nameOf(gap));
  }

  event(event: StreamEvent): void {
    const said = eventText(event);
    if (said) this.tell(said[0], said[1], event.reportTime && milliseconds(event.reportTime), event.gap && nameOf(event.gap));
  }
}

/** The stream and history tell the same of a gap once in each of its states. */
function nameOf(gap: Gap): string {
  return [gap.product, gap.run, gap.firstTradeId, gap.lastTradeId, GapState[gap.state]].join(" ");
}

function gapTone(gap: Gap): Tone {
  return gap.state === GapState.REPAIRED ? "good" : "bad";
}

function gapText(gap: Gap): string {
  const count = gap.lastTradeId - gap.firstTradeId + 1n;
  const [trades, are, were] = count === 1n ? ["trade", "is", "was"] : ["trades", "are", "were"];
  const about = `${gap.product}: ${count} ${trades}`;
  const range = count === 1n ? `(${gap.firstTradeId})` : `(${gap.firstTradeId} to ${gap.lastTradeId})`;
  if (gap.state === GapState.REPAIRED) return `${about} ${were} missing and ${were} fetched ${range}`;
  if (gap.state === GapState.UNREPAIRABLE) return `${about} ${are} missing for good: the exchange keeps them no longer ${range}`;
  const cause = CAUSES[gap.cause];
  return `${about} ${are} missing${cause ? `, ${cause}` : ""} ${range}`;
}

/** Undefined for what is shown elsewhere on the page. */
function eventText(event: StreamEvent): [string, Tone] | undefined {
  const about = event.product ? `${event.product}: ` : "";
  const detail = event.detail ? `: ${event.detail}` : "";
  switch (event.kind) {
    case StreamEventKind.GAP:
    case StreamEventKind.REPAIRED:
      return event.gap && [gapText(event.gap), gapTone(event.gap)];
    case StreamEventKind.STALE:
      return [`${about}the exchange has not been heard of for too long, prices may be old`, "bad"];
    case StreamEventKind.LAGGED:
      // Conflation is counted at the foot of the page; what is said in words is more than that.
      return event.detail ? [`${about}${event.detail}`, "plain"] : undefined;
    case StreamEventKind.NEW_RUN:
      return [`${about}the exchange's sequence has started anew`, "plain"];
    case StreamEventKind.NOT_RECOVERED:
      return [`${about}what was missed could not be recovered${detail}`, "bad"];
    case StreamEventKind.RATE_LIMITED: {
      const delay = event.retryDelay && describe(Number(event.retryDelay.seconds) * 1000 + event.retryDelay.nanos / 1e6);
      return [`too many updates for one connection: only the newest of each product are shown${delay ? ` (${delay})` : ""}`, "plain"];
    }
    case StreamEventKind.CLOSING:
      return [`the server ends the stream${detail}`, "plain"];
    default:
      return undefined;
  }
}
