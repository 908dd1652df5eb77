// Data, and what a flow makes of the plane while it trains: density, samples and grid, drawn in a few milliseconds.

import { Flow2D } from "../../maths/flow";
import { Mesh } from "../../maths/mesh";
import { gridLines } from "../pushforward/mesh_drawing";
import { words } from "../../drawing/frame";
import { normals } from "../../maths/random";
import { Plot, type Colour } from "../../drawing/plot";
import type { FlowJson, Point } from "../../protocol";
import { QuickFlow } from "../../maths/quick_flow";

export interface Shown {
  data: boolean;
  density: boolean;
  samples: boolean;
  grid: boolean;
  truth: boolean;
}

/** Values on a square of cells, row by row from below. */
export interface Field {
  values: Float64Array;
  size: number;
}

/** A field over a square, from the first number to the second along both axes. */
export interface BoundedField extends Field {
  bounds: Point;
}

const SAMPLES = 500;
const MOST_DATA = 2500;
/** Cells along a side of the density while the flow trains: fewer for flows that would take longer than so many
 * milliseconds, for the training wants the processor as well. */
const QUICK = { most: 48, least: 28, milliseconds: 5 };
/** Cells along a side when the flow rests, at most. */
const FINEST = 128;
/** Milliseconds that the exact density of a flow at rest may take. */
const THOROUGH = 250;
/** A straight grid over z, of which each flow draws its own image. */
const GRID = new Mesh(new Flow2D({ parts: [] }), 12, 3);

export class TrainView {
  readonly plot: Plot;
  private json: FlowJson | null = null;
  private flow: QuickFlow | null = null;
  private points: readonly Point[] = [];
  private field: Field | null = null;
  private truth: BoundedField | null = null;
  private quick = QUICK.most;
  private spent: number[] = [];
  private finer = 0;
  private layer = { key: "", points: [] as readonly Point[], canvas: document.createElement("canvas") };
  private hint = "";
  private readonly latents = Float64Array.from(normals(1, 2 * SAMPLES));

  constructor(private shown: Shown, title: string) {
    this.plot = new Plot({ label: title, x: [-4, 4], y: [-4, 4], xTitle: "x₁", yTitle: "x₂", aspect: 1 }, () => this.draw());
  }

  destroy(): void {
    window.clearTimeout(this.finer);
    this.plot.destroy();
  }

  /** Which layers are drawn. */
  choose(shown: Shown, running: boolean): void {
    this.shown = shown;
    this.show(this.json, running);
  }

  /** What `show` draws from then on, other ranges (null: the same), and a word for those who see no points yet. */
  setData(points: readonly Point[], ranges: [Point, Point] | null, hint: string): void {
    this.hint = hint;
    this.points = points.length > MOST_DATA ? points.slice(-MOST_DATA) : points;
    if (ranges) this.plot.ranges(...ranges);
  }

  /** The density that the data come from; null: unknown, or not asked for. */
  setTruth(truth: BoundedField | null): void {
    this.truth = truth;
    this.plot.redraw();
  }

  /** Draws a flow (none: the data alone); one that rests is drawn exactly, and finer, a moment later. */
  show(json: FlowJson | null, running: boolean): void {
    window.clearTimeout(this.finer);
    if (!json) [this.quick, this.spent] = [QUICK.most, []];
    if (json !== this.json || !this.flow) this.flow = json && new QuickFlow(json);
    this.json = json;
    this.field = this.flow && this.shown.density ? this.quickField(this.flow) : null;
    this.plot.redraw();
    if (!running && this.field) this.finer = window.setTimeout(() => this.refine(), 150);
  }

  /** The density on as many cells as there is time for: the median of five pictures counts, and the size only falls
   * while a flow trains, so that the picture does not flicker. */
  private quickField(flow: QuickFlow): Field {
    const [size, began] = [this.quick, performance.now()];
    const values = flow.density(...this.ranges(), size);
    this.spent.push((performance.now() - began) / (size * size));
    if (this.spent.length === 5) {
      const aCell = this.spent.sort((a, b) => a - b)[2];
      this.quick = Math.min(size, sizeFor(QUICK.milliseconds, aCell, QUICK.least, QUICK.most));
      this.spent = [];
    }
    return { values, size };
  }

  private refine(): void {
    if (!this.json || !this.field) return;
    const exact = new Flow2D(this.json);
    const [x, y] = this.ranges();
    const began = performance.now();
    exact.density(x, y, 12);
    const size = sizeFor(THOROUGH, (performance.now() - began) / 144, QUICK.most, FINEST);
    this.field = { values: exact.density(x, y, size), size };
    this.plot.redraw();
  }

  private ranges(): [Point, Point] {
    return [this.plot.x.domain() as Point, this.plot.y.domain() as Point];
  }

  /** The data as a picture of its own: it stays the same from one drawing to the next. */
  private dataLayer(): HTMLCanvasElement {
    const { plot, layer } = this;
    const key = [plot.width, plot.height, ...plot.x.domain(), ...plot.y.domain(), plot.colour("green")].join(" ");
    if (layer.key === key && layer.points === this.points) return layer.canvas;
    const sharp = window.devicePixelRatio || 1;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [Math.round(plot.width * sharp), Math.round(plot.height * sharp)];
    const pen = canvas.getContext("2d") as CanvasRenderingContext2D;
    pen.scale(sharp, sharp);
    specks(plot, this.points, "green", 1.1, 0.6, pen);
    this.layer = { key, points: this.points, canvas };
    return canvas;
  }

  private draw(): void {
    const { plot, flow, shown } = this;
    if (this.truth && shown.truth) plot.field(this.truth.values, this.truth.size, this.truth.bounds, this.truth.bounds, "green");
    if (this.field && shown.density) plot.field(this.field.values, this.field.size, ...this.ranges(), "orange");
    if (shown.data) plot.pen.drawImage(this.dataLayer(), 0, 0, plot.width, plot.height);
    if (this.hint) words(plot, this.hint, plot.width / 2, plot.height / 2 - 12, "soft", "center", 16);
    if (!flow) return;
    if (shown.grid) {
      const image = { places: flow.forward(GRID.straight.places), ladj: GRID.straight.ladj };
      gridLines(plot, GRID, image, "ink", { opacity: 0.4, width: 0.8 });
    }
    if (shown.samples) specks(plot, pointsOf(flow.forward(this.latents)), "blue", 1.8, 0.85);
  }
}

function pointsOf(places: Float64Array): Point[] {
  return Array.from({ length: places.length / 2 }, (_, k): Point => [places[2 * k], places[2 * k + 1]]);
}

/** The side of a square of cells that can be computed in so many milliseconds. */
export function sizeFor(milliseconds: number, aCell: number, least: number, most: number): number {
  const size = Math.floor(Math.sqrt(milliseconds / Math.max(aCell, 1e-6)));
  return Math.min(most, Math.max(least, size));
}

/** Many dots of one colour, stamped from one picture of a dot. */
function specks(
  plot: Plot, points: readonly Point[], colour: Colour, radius: number, opacity: number, pen = plot.pen,
): void {
  const sharp = window.devicePixelRatio || 1;
  const side = 2 * Math.ceil(radius * sharp) + 2;
  const stamp = document.createElement("canvas");
  [stamp.width, stamp.height] = [side, side];
  const dot = stamp.getContext("2d") as CanvasRenderingContext2D;
  dot.fillStyle = plot.colour(colour);
  dot.arc(side / 2, side / 2, radius * sharp, 0, 2 * Math.PI);
  dot.fill();
  const wide = side / sharp;
  pen.save();
  pen.globalAlpha = opacity;
  for (const [x, y] of points) {
    const [left, top] = [plot.x(x), plot.y(y)];
    if (Math.abs(left) < 1e5 && Math.abs(top) < 1e5) pen.drawImage(stamp, left - wide / 2, top - wide / 2, wide, wide);
  }
  pen.restore();
}

/** Ranges around points with some room; of one scale for both axes if `square`. */
export function around(points: readonly Point[], square: boolean): [Point, Point] {
  const ends = (axis: 0 | 1): Point => {
    const values = points.map((point) => point[axis]).filter(Number.isFinite).sort((a, b) => a - b);
    if (!values.length) return [-4, 4];
    const [low, high] = [values[Math.floor(0.002 * (values.length - 1))], values[Math.ceil(0.998 * (values.length - 1))]];
    const half = Math.max((high - low) / 2, 1e-9 * Math.max(1, Math.abs(low))) * 1.25;
    return [(low + high) / 2 - half, (low + high) / 2 + half];
  };
  const [x, y] = [ends(0), ends(1)];
  if (!square) return [x, y];
  const half = Math.max(x[1] - x[0], y[1] - y[0]) / 2;
  const centred = ([low, high]: Point): Point => [(low + high) / 2 - half, (low + high) / 2 + half];
  return [centred(x), centred(y)];
}
