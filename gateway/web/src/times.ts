import type { Timestamp } from "@bufbuild/protobuf/wkt";

/** Milliseconds since 1970, as JavaScript counts. Only for what is shown: a position never depends on it. */
export function milliseconds(time: Timestamp): number {
  return Number(time.seconds) * 1000 + Math.floor(time.nanos / 1e6);
}

/** A length of time in the unit that fits it. */
export function describe(lengthMs: number): string {
  const seconds = lengthMs / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3_600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}
