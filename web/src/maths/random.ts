// Random numbers from a seed: the same sample on every visit.

import { normalQuantile } from "./normal";

/** Uniform numbers in (0, 1) (mulberry32). */
export function uniforms(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return (((mixed ^ (mixed >>> 14)) >>> 0) + 0.5) / 4294967296;
  };
}

/** Standard normal numbers. */
export function normals(seed: number, count: number): number[] {
  const uniform = uniforms(seed);
  return Array.from({ length: count }, () => normalQuantile(uniform()));
}
