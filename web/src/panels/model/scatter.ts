// Two columns of rows against each other; categories stand beside each other, their points spread a little.

import { ticks } from "d3-array";

import { fitting } from "./column_card";
import { valuesOf, valueText, type Column } from "./columns";
import { words } from "../../drawing/frame";
import { uniforms } from "../../maths/random";
import { Plot } from "../../drawing/plot";
import type { Point } from "../../protocol";

export class Scatter {
  readonly plot: Plot;
  private points: Point[] = [];
  private x: Column | null = null;
  private y: Column | null = null;

  constructor() {
    this.plot = new Plot(
      { label: "Samples of the model: two columns against each other", x: [0, 1], y: [0, 1], aspect: 0.72, axes: false },
      () => this.draw(),
    );
    this.plot.element.style.maxWidth = "760px";
  }

  /** Two columns, and the values of each row in both. */
  show(x: Column, y: Column, xs: readonly unknown[], ys: readonly unknown[]): void {
    [this.x, this.y] = [x, y];
    const random = uniforms(1);
    const [left, below] = [placer(x, random), placer(y, random)];
    this.points = xs
      .map((value, k): Point => [left(value), below(ys[k])])
      .filter(([a, b]) => Number.isFinite(a) && Number.isFinite(b));
    this.plot.redraw();
  }

  private draw(): void {
    const { plot, x, y } = this;
    if (!x || !y) return;
    plot.x.domain(domain(x)).range([76, plot.width - 14]);
    plot.y.domain(domain(y)).range([plot.height - 44, 12]);
    this.marks(x, true);
    this.marks(y, false);
    const pen = plot.pen;
    pen.save();
    pen.beginPath();
    const [left, right] = plot.x.range();
    const [bottom, top] = plot.y.range();
    pen.rect(left, top, right - left, bottom - top);
    pen.clip();
    plot.dots(this.points, "orange", 2, 0.55);
    pen.restore();
    words(plot, fitting(x.name, right - left), right, plot.height - 14, "ink", "right", 13);
    words(plot, fitting(y.name, (right - left) / 2), left + 6, top + 10, "ink", "left", 13);
  }

  /** Lines and what stands beside them. */
  private marks(column: Column, across: boolean): void {
    const { plot } = this;
    const values = valuesOf(column);
    const scale = across ? plot.x : plot.y;
    const [start, end] = scale.domain();
    const room = Math.abs(scale.range()[1] - scale.range()[0]);
    const count = Math.max(2, Math.floor(room / (across ? 90 : 60)));
    const places = values ? values.map((_, k) => k) : ticks(start, end, count);
    const apart = room / Math.max(places.length, 1);
    const every = values ? Math.max(1, Math.ceil((across ? 40 : 16) / apart)) : 1;
    for (const [k, place] of places.entries()) {
      const at = scale(place);
      if (across) plot.curve([[place, plot.y.domain()[0]], [place, plot.y.domain()[1]]], "line", { width: 1 });
      else plot.curve([[plot.x.domain()[0], place], [plot.x.domain()[1], place]], "line", { width: 1 });
      if (k % every) continue;
      const text = values ? valueText(column, values[place]) : valueText(column, place);
      if (across) words(plot, fitting(text, every * apart), at, plot.height - 32, "soft", "center", 12);
      else words(plot, fitting(text, 70), 70, at, "soft", "right", 12);
    }
  }
}

function domain(column: Column): Point {
  const values = valuesOf(column);
  if (values) return [-0.6, Math.max(values.length, 1) - 0.4];
  const { low = 0, high = 1 } = column;
  const pad = 0.06 * (high - low) || 1;
  return [low - pad, high + pad];
}

/** Where a value stands along its axis; NaN for a missing one. */
function placer(column: Column, random: () => number): (value: unknown) => number {
  const values = valuesOf(column);
  if (values) {
    const places = new Map(values.map((value, k) => [String(value), k]));
    return (value) => (places.get(String(value)) ?? NaN) + 0.5 * (random() - 0.5);
  }
  if (column.kind === "time") return (value) => (typeof value === "string" ? secondsOf(value) : NaN);
  return (value) => (typeof value === "number" ? value : NaN);
}

function secondsOf(text: string): number {
  const zoned = /[zZ]|[+-]\d\d:\d\d$/.test(text) || !text.includes("T") ? text : `${text}Z`;
  return Date.parse(zoned) / 1000;
}
