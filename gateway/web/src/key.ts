// The key that a gateway may ask for. It stays in this tab (`sessionStorage`, which ends with it), and leaves it only as the header of a
// call to the page's own server: never in an address, which logs would keep.

import type { Interceptor } from "@connectrpc/connect";

const PLACE = "ledgerflux-key";

export function key(): string {
  return sessionStorage.getItem(PLACE) ?? "";
}

export function setKey(text: string): void {
  if (text) sessionStorage.setItem(PLACE, text);
  else sessionStorage.removeItem(PLACE);
}

/** The headers that a call needs; none without a key. */
export function authorization(): Record<string, string> {
  return key() ? { authorization: `Bearer ${key()}` } : {};
}

export const withKey: Interceptor = (next) => (request) => {
  for (const [name, value] of Object.entries(authorization())) request.header.set(name, value);
  return next(request);
};
