// Negative log-likelihoods over the steps of a training, beside lines that they can be compared with.

import { words } from "../../drawing/frame";
import { Plot, type Colour } from "../../drawing/plot";
import type { Point } from "../../protocol";
import { shown } from "../../page/ui";

export interface Level {
  name: string;
  value: number;
  colour: Colour;
  dash: number[];
}

const MOST = 1500;

export class NllCurve {
  readonly plot: Plot;
  private loss = new Series();
  private heldOut = new Series();
  private levels: Level[] = [];

  constructor() {
    this.plot = new Plot(
      {
        label: "Held-out negative log-likelihood over training steps, with the true entropy and two other density estimates",
        x: [0, 100], y: [0, 4], xTitle: "step", yTitle: "nats a point", aspect: 0.58,
      },
      (plot) => this.draw(plot),
    );
  }

  /** Begins a new curve, with no lines beside it. */
  clear(): void {
    this.levels = [];
    this.restart();
  }

  /** Begins a new curve beside the same lines. */
  restart(): void {
    [this.loss, this.heldOut] = [new Series(), new Series()];
  }

  compareWith(levels: Level[]): void {
    this.levels = levels.filter((level) => Number.isFinite(level.value));
  }

  add(step: number, loss: number | null, heldOut: number | null): void {
    if (loss !== null && Number.isFinite(loss)) this.loss.add([step, loss]);
    if (heldOut !== null && Number.isFinite(heldOut)) this.heldOut.add([step, heldOut]);
  }

  redraw(): void {
    const last = Math.max(this.loss.last, this.heldOut.last);
    this.plot.ranges([0, niceEnd(last)], limits(this.heldOut.points, this.levels.map((level) => level.value)));
    this.plot.redraw();
  }

  private draw(plot: Plot): void {
    plot.curve(this.loss.points, "soft", { width: 1, opacity: 0.45 });
    const [start, end] = plot.x.domain();
    for (const level of this.levels)
      plot.curve([[start, level.value], [end, level.value]], level.colour, { width: 1.6, dash: level.dash });
    plot.curve(this.heldOut.points, "orange", { width: 2.5 });
    this.label(plot);
  }

  /** The names of the lines, at their right ends, moved apart where they are near each other. */
  private label(plot: Plot): void {
    const [bottom, top] = plot.y.range();
    const sorted = [...this.levels].sort((a, b) => b.value - a.value);
    const places = apart(sorted.map((level) => plot.y(level.value) - 9), 15, top + 10, bottom - 9);
    sorted.forEach((level, k) =>
      words(plot, `${level.name} ${shown(level.value, 3)}`, plot.x.range()[1] - 6, places[k], level.colour, "right", 12),
    );
  }
}

/** Points of a curve, of which every second one is dropped when there are too many. */
class Series {
  points: Point[] = [];
  last = 0;

  add(point: Point): void {
    if (point[0] < this.last) this.points = [];
    this.last = point[0];
    this.points.push(point);
    if (this.points.length > MOST) this.points = this.points.filter((_, k) => k % 2 === 0 || k > MOST - 2);
  }
}

/** Limits that show all lines and the curve, but not the very first steps where these are far above. */
export function limits(curve: readonly Point[], levels: readonly number[]): Point {
  const values = curve.map((point) => point[1]);
  if (!values.length && !levels.length) return [0, 4];
  const low = Math.min(...values, ...levels);
  const usual = [...values].sort((a, b) => a - b)[Math.ceil(0.85 * (values.length - 1))] ?? low;
  const high = Math.max(usual, values[values.length - 1] ?? low, ...levels);
  const pad = Math.max(0.12 * (high - low), 0.05);
  return [low - pad, high + 2 * pad];
}

/** Heights from top to bottom, moved so that neighbours are a gap apart and all lie within limits. */
export function apart(wanted: readonly number[], gap: number, top: number, bottom: number): number[] {
  const places = [...wanted];
  for (let k = 0; k < places.length; k++) places[k] = Math.max(places[k], k ? places[k - 1] + gap : top);
  for (let k = places.length - 1; k >= 0; k--)
    places[k] = Math.min(places[k], k + 1 < places.length ? places[k + 1] - gap : bottom);
  return places;
}

function niceEnd(last: number): number {
  let end = 100;
  while (end < last) end = end * 1.25;
  return end;
}
