// Bars of a sample, of total area one.

import type { Plot } from "../drawing/plot";
import type { Point } from "../protocol";

export function histogram(values: readonly number[], [low, high]: Point, bins: number): number[] {
  const heights = new Array<number>(bins).fill(0);
  const width = (high - low) / bins;
  for (const value of values) {
    const bin = Math.floor((value - low) / width);
    if (bin >= 0 && bin < bins) heights[bin] += 1 / (values.length * width);
  }
  return heights;
}

/** Grey bars behind curves. */
export function drawBars(plot: Plot, heights: readonly number[], [low, high]: Point): void {
  const { pen } = plot;
  const width = (high - low) / heights.length;
  pen.save();
  pen.fillStyle = plot.colour("soft");
  pen.globalAlpha = 0.28;
  heights.forEach((height, k) => {
    const [left, right] = [plot.x(low + k * width), plot.x(low + (k + 1) * width)];
    const top = Math.max(-1e4, plot.y(height));
    pen.fillRect(left + 0.5, top, right - left - 1, plot.y(0) - top);
  });
  pen.restore();
}
