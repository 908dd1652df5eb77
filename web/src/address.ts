// What the user has chosen, in the part of the address behind "#", so that a link shows the same again.

import type { State } from "./panel";

export interface Address {
  panel: string | null;
  state: State;
}

/** "#panel?key=value&…" as panel and state; numbers, true, false and null are what they say. */
export function readAddress(hash: string = location.hash): Address {
  const [panel, query] = hash.replace(/^#/, "").split("?", 2);
  const state: State = {};
  for (const [key, text] of new URLSearchParams(query ?? "")) state[key] = valueOf(text);
  return { panel: panel || null, state };
}

export function writeAddress(panel: string, state: State): void {
  const pairs = Object.entries(state).filter(([, value]) => value !== null) as [string, string | number | boolean][];
  const query = new URLSearchParams(pairs.map(([key, value]) => [key, String(value)])).toString();
  try {
    history.replaceState(null, "", `#${panel}${query ? `?${query}` : ""}`);
  } catch {
    // A browser that has had enough of it keeps the address before.
  }
}

function valueOf(text: string): string | number | boolean {
  if (text === "true" || text === "false") return text === "true";
  return text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
}
