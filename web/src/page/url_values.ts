// Values that the URL holds, which anyone may have written.

import { clamp } from "../drawing/plot";

/** A number of the URL within its limits; the other one if it is none. */
export function numberOf(value: unknown, otherwise: number, low: number, high: number): number {
  return typeof value === "number" && Number.isFinite(value) ? clamp(value, low, high) : otherwise;
}

/** A word of the URL if it is one of those allowed. */
export function wordOf<T extends string>(value: unknown, allowed: readonly T[], otherwise: T): T {
  return allowed.find((word) => word === String(value)) ?? otherwise;
}
