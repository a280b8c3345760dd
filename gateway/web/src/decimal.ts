// Prices and sizes are text from the exchange to the screen. They are compared and subtracted as decimals; nothing here turns one
// into a floating-point number but a percentage, which is no price.

interface Decimal {
  digits: bigint;
  scale: number;
}

function parse(text: string): Decimal | undefined {
  const match = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text);
  if (!match) return undefined;
  const fraction = match[3] ?? "";
  const digits = BigInt(`${match[2]}${fraction}`);
  return { digits: match[1] ? -digits : digits, scale: fraction.length };
}

/** Both as whole numbers of the smaller of their units. */
function aligned(left: string, right: string): [bigint, bigint, number] | undefined {
  const [a, b] = [parse(left), parse(right)];
  if (!a || !b) return undefined;
  const scale = Math.max(a.scale, b.scale);
  const shift = (number: Decimal) => number.digits * 10n ** BigInt(scale - number.scale);
  return [shift(a), shift(b), scale];
}

function format(digits: bigint, scale: number): string {
  const sign = digits < 0n ? "-" : "";
  const text = (digits < 0n ? -digits : digits).toString().padStart(scale + 1, "0");
  const whole = text.slice(0, text.length - scale);
  return scale ? `${sign}${whole}.${text.slice(-scale)}` : sign + whole;
}

/** `left - right`, exactly; undefined when one of them is no decimal. */
export function subtract(left: string, right: string): string | undefined {
  const both = aligned(left, right);
  return both && format(both[0] - both[1], both[2]);
}

/** Below, at or above 0 as `left` is below, at or above `right`. What is no decimal comes before everything. */
export function compare(left: string | undefined, right: string | undefined): number {
  const both = aligned(left ?? "", right ?? "");
  if (!both) return Number(parse(left ?? "") !== undefined) - Number(parse(right ?? "") !== undefined);
  return both[0] < both[1] ? -1 : both[0] > both[1] ? 1 : 0;
}

/** By how many percent `now` is above `before`. */
export function percent(now: string, before: string): number | undefined {
  const both = aligned(now, before);
  if (!both || both[1] === 0n) return undefined;
  return Number(((both[0] - both[1]) * 1_000_000n) / both[1]) / 10_000;
}

/** How many digits follow the point. */
export function scaleOf(text: string): number {
  return parse(text)?.scale ?? 0;
}

/** The same number without zeros at its end that carry no meaning. */
export function trimmed(text: string): string {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}
