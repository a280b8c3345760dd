// Waiting: between two attempts, and for a server that may have gone without a word.

const DELAY_MS_MIN = 500;
const DELAY_MS_MAX = 15_000;

/** Delays that double, with a part left to chance so that not all pages come back in the same moment. */
export class Backoff {
  #delayMs = DELAY_MS_MIN;

  next(): number {
    const delayMs = this.#delayMs * (0.5 + Math.random() / 2);
    this.#delayMs = Math.min(this.#delayMs * 2, DELAY_MS_MAX);
    return delayMs;
  }

  reset(): void {
    this.#delayMs = DELAY_MS_MIN;
  }
}

/** Aborts when it is not fed for too long. */
export class Watchdog {
  readonly #abort = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  bites = false;

  constructor(private readonly silenceMsMax: number) {
    this.feed();
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  feed(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.bites = true;
      this.#abort.abort();
    }, this.silenceMsMax);
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#abort.abort();
  }
}

/** Ends after so many milliseconds, or with the signal, whichever is first. */
export function sleep(lengthMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = Number.isFinite(lengthMs) ? setTimeout(resolve, lengthMs) : undefined;
    const wake = () => {
      clearTimeout(timer);
      resolve();
    };
    if (signal.aborted) wake();
    else signal.addEventListener("abort", wake, { once: true });
  });
}
