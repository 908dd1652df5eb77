// Live numbers with their full precision in `data-value`, for those who read the page by machine.

import { h, shown } from "./ui";

/** Puts a number into its element: shown as a text, by default with four digits, in full as `data-value`. */
export function put(element: HTMLElement, value: number | string | null, text?: string): void {
  element.dataset.value = value === null ? "" : String(value);
  const words = text ?? (typeof value === "string" ? value : shown(value, 4));
  if (element.textContent !== words) element.textContent = words;
}

/** Name (of `data-fact`), what stands before the number, and whether it is one to be warned of. */
export type Fact = readonly [name: string, title: string | HTMLElement, wrong?: "wrong"];

export interface Facts {
  element: HTMLElement;
  /** `put` for the number of this name. */
  set(name: string, value: number | string | null, text?: string): void;
}

export function facts(lines: readonly Fact[]): Facts {
  const places = new Map<string, HTMLElement>();
  const list = h("dl", { class: "facts" });
  for (const [name, title, wrong] of lines) {
    const place = h("dd", { class: wrong ?? null, "data-fact": name, "data-value": "" }, "–");
    places.set(name, place);
    list.append(h("div", {}, h("dt", {}, title), place));
  }
  return { element: list, set: (name, value, text) => put(places.get(name) as HTMLElement, value, text) };
}

/** Three significant digits, with a power of ten where a number is small or large: 1.23 · 10⁻⁷. */
export function significant(value: number, digits = 3): string {
  if (!Number.isFinite(value) || value === 0) return shown(value, 0);
  const size = Math.abs(value);
  if (size >= 1e-3 && size < 1e5) {
    const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
    return shown(value, Math.min(6, decimals));
  }
  const [head, power] = value.toExponential(digits - 1).split("e");
  const raised = [...String(Number(power))].map((sign) => (sign === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(sign)])).join("");
  return `${head.replace("-", "−")} · 10${raised}`;
}
