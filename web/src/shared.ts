// What one panel leaves for another: the flow that was trained last.

import type { FlowJson } from "./protocol";

export interface Trained {
  flow: FlowJson;
  /** Lines of Python that train such a flow. */
  python: string;
}

let last: Trained | null = null;
const listeners = new Set<(trained: Trained) => void>();

export function trained(): Trained | null {
  return last;
}

export function keepTrained(flow: Trained): void {
  last = flow;
  for (const listener of listeners) listener(flow);
}

/** Calls a function with each flow that comes from now on; returns what ends that. */
export function onTrained(listener: (trained: Trained) => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
