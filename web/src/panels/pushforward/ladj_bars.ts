// Bars of log|det| layer by layer at one point: each begins where the one before it ended, so that the last end is the sum.

import { words } from "../../drawing/frame";
import { clamp, Plot } from "../../drawing/plot";
import type { Point } from "../../protocol";
import { shown } from "../../page/ui";

/** One bar for each layer; those beyond `layers` are faint. */
export class LadjBars {
  readonly plot: Plot;
  private steps: number[] = [];
  private layers = 0;
  private total = 0;

  constructor() {
    this.plot = new Plot(
      { label: "log |det| of each layer at the point, one after the other", x: [0.4, 1.6], y: [-1, 1], aspect: 0.4, axes: false },
      (plot) => this.draw(plot),
    );
  }

  /** log|det| of each layer, how many layers are applied (the last perhaps in part), and log|det| of those together. */
  show(steps: number[], layers: number, total: number): void {
    this.steps = steps.map((step) => (Number.isFinite(step) ? step : 0));
    this.layers = layers;
    this.total = Number.isFinite(total) ? total : 0;
    this.plot.redraw();
  }

  private draw(plot: Plot): void {
    const ends = running(this.steps);
    const [low, high] = [Math.min(-0.5, this.total, ...ends), Math.max(0.5, this.total, ...ends)];
    const pad = (0.32 * (high - low)) / 2 + 0.1;
    plot.ranges([0.4, Math.max(this.steps.length, 1) + 0.6], [low - pad, high + pad]);
    plot.x.range([6, plot.width - 6]);
    plot.y.range([plot.height - 22, 6]);
    const wide = Math.abs(plot.x(1) - plot.x(0));
    plot.curve([[-1, 0], [this.steps.length + 2, 0]], "soft", { width: 1 });
    this.steps.forEach((step, k) => this.bar(plot, k, ends[k], step, wide));
    if (this.layers > 0) {
      const to = Math.min(Math.ceil(this.layers), this.steps.length);
      plot.curve([[to - 0.45, this.total], [this.steps.length + 0.6, this.total]], "ink", { width: 1.5, dash: [4, 3] });
    }
  }

  private bar(plot: Plot, k: number, from: number, step: number, wide: number): void {
    const share = clamp(this.layers - k, 0, 1);
    const half = 0.36;
    const colour = step < 0 ? "blue" : "orange";
    plot.box(k + 1 - half, k + 1 + half, from, from + step, colour, share > 0 ? 0.18 : 0.06);
    const end = share < 1 ? this.total : from + step;
    if (share > 0) plot.box(k + 1 - half, k + 1 + half, from, end, colour, 0.7);
    const ink = share > 0 ? "ink" : "soft";
    if (wide > 38) {
      const beyond = step < 0 ? plot.y(from + step) + 10 : plot.y(from + step) - 10;
      words(plot, shown(step, 2), plot.x(k + 1), beyond, ink, "center", 12);
    }
    if (wide > 16 || k % 2 === 0) words(plot, String(k + 1), plot.x(k + 1), plot.height - 11, ink, "center", 12);
  }
}

/** Sums before the first step, after it, after the second. */
export function running(steps: readonly number[]): number[] {
  const ends = [0];
  for (const step of steps) ends.push(ends[ends.length - 1] + step);
  return ends;
}

/** A point as text. */
export function pair([a, b]: Point, digits = 3): string {
  return `(${shown(a, digits)}, ${shown(b, digits)})`;
}
