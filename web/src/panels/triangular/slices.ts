// The density of (x₁, x₂), and its slice at the chosen x₁ beside a normal of the same mean and variance.

import { formula } from "../../page/formula";
import { Plot } from "../../drawing/plot";
import type { Point } from "../../protocol";
import { h, onceAFrame, shown } from "../../page/ui";
import type { Density } from "../../maths/densities";
import { facts } from "../../page/facts";
import { Knob } from "../../page/knob";
import { jointOnGrid, ranges, Slice } from "./numbers";
import type { TriangularMap } from "./map";

const GRID = 80;

export interface SlicesOptions {
  /** The first two numbers of z are to be these. */
  moved(z: Point): void;
  settled(): void;
}

export class SlicesView {
  readonly element: HTMLElement;
  private map!: TriangularMap;
  private base!: Density;
  private z: readonly number[] = [0, 0];
  private x: Point = [0, 0];
  private slice!: Slice;
  private box!: { x1: Point; x2: Point };
  private curves: { q: Point[]; normal: Point[]; highest: number } = { q: [], normal: [], highest: 1 };
  private stage = h("div", { class: "stage" });
  private joint: Plot;
  private conditional: Plot;
  private knob: Knob;
  private drawing = onceAFrame(() => this.redraw());
  private facts = facts([
    ["mean", "mean μ of x₂ given x₁"],
    ["deviation", "standard deviation σ"],
    ["divergence", formula("\\mathrm{KL}(q \\,\\|\\, N) \\text{, in nats}")],
  ]);

  constructor(options: SlicesOptions) {
    this.joint = new Plot(
      { label: "Density of x₁ and x₂, with a line at the chosen x₁", x: [-3, 3], y: [-3, 3], aspect: 0.8, yTitle: "x₂", xTitle: "x₁" },
      () => this.paintJoint(),
    );
    this.conditional = new Plot(
      {
        label: "Conditional density of x₂ given x₁, and the normal of the same mean and variance",
        x: [-3, 3], y: [0, 1], aspect: 0.8, xTitle: "x₂",
      },
      () => this.paintSlice(),
    );
    this.stage.append(this.joint.element);
    this.knob = new Knob(this.stage, {
      label: "The point x: arrow keys change z₁ and z₂",
      colour: "orange",
      dragged: (left, top) => options.moved(this.latent([this.joint.x.invert(left), this.joint.y.invert(top)])),
      stepped: (right, up) => options.moved([this.z[0] + 0.05 * right, this.z[1] + 0.05 * up]),
      settled: options.settled,
    });
    this.element = h(
      "section", { "aria-label": "Conditional density" },
      h("h3", {}, "A slice: x₂ given x₁"),
      h("div", { class: "row" }, this.stage, this.conditional.element),
      this.facts.element,
      h(
        "p", { class: "note" },
        "Drag the point: the line is the slice at its x₁. With a normal base and skew r = 0, x₂ is an affine function " +
          "of a normal z₂ once x₁ is given, so every slice is exactly normal, N(μ, σ²), with μ and σ that depend on x₁: the " +
          "map is a chain of conditional Gaussians. Another base, or r ≠ 0, gives slices which no Gaussian has.",
      ),
    );
  }

  destroy(): void {
    this.drawing.cancel();
    this.joint.destroy();
    this.conditional.destroy();
  }

  show(map: TriangularMap, base: Density, z: readonly number[]): void {
    [this.map, this.base, this.z] = [map, base, z];
    this.x = map.forward(z.slice(0, 2)) as Point;
    this.slice = new Slice(map, base, z[0]);
    this.box = ranges(map, base);
    this.curves = this.curvesOf();
    this.facts.set("mean", this.slice.mean);
    this.facts.set("deviation", this.slice.deviation);
    this.facts.set("divergence", this.slice.divergence());
    this.drawing.request();
  }

  /** Draws now, as when colours have changed. */
  redraw(): void {
    this.joint.ranges(this.box.x1, this.box.x2);
    this.joint.redraw();
    this.conditional.ranges(this.box.x2, [0, 1.3 * this.curves.highest]);
    this.conditional.redraw();
  }

  /** Both curves over the shown range of x₂, with more points where they are. */
  private curvesOf(): { q: Point[]; normal: Point[]; highest: number } {
    const [low, high] = this.box.x2;
    const { mean, deviation } = this.slice;
    const even = Array.from({ length: 401 }, (_, k) => low + ((high - low) * k) / 400);
    const near = Array.from({ length: 401 }, (_, k) => mean + deviation * (k / 40 - 5));
    const places = [...even, ...near.filter((place) => place > low && place < high)].sort((a, b) => a - b);
    const q: Point[] = places.map((place) => [place, this.slice.density(place)]);
    const normal: Point[] = places.map((place) => [place, this.slice.normal(place)]);
    return { q, normal, highest: Math.max(...[...q, ...normal].map(([, y]) => y), 1e-9) };
  }

  private latent([x1, x2]: Point): Point {
    const z1 = Math.min(3, Math.max(-3, this.map.solve(0, x1, [])));
    return [z1, this.map.solve(1, x2, [z1])];
  }

  private paintJoint(): void {
    if (!this.box) return;
    const { joint, box, x } = this;
    joint.field(jointOnGrid(this.map, this.base, box.x1, box.x2, GRID), GRID, box.x1, box.x2, "orange");
    joint.curve([[x[0], box.x2[0]], [x[0], box.x2[1]]], "ink", { width: 1.5 });
    const ends = [-3, 3].map((z2) => this.map.forward([this.z[0], z2])[1]);
    const [left, top] = [joint.x(x[0]), joint.y(x[1])];
    const inside = [Math.min(joint.width - 10, Math.max(44, left)), Math.min(joint.height - 34, Math.max(10, top))];
    this.knob.place(inside[0], inside[1], {
      now: x[1], min: Math.min(ends[0], x[1]), max: Math.max(ends[1], x[1]),
      text: `x₁ = ${shown(x[0], 2)}, x₂ = ${shown(x[1], 2)}`,
    });
  }

  private paintSlice(): void {
    if (!this.box) return;
    const { conditional: plot, slice, x } = this;
    const { x2 } = this.box;
    const width = x2[1] - x2[0];
    const { q, normal, highest } = this.curves;
    plot.area(q, "orange", 0.15);
    plot.curve(q, "orange", { width: 2.5 });
    plot.curve(normal, "green", { dash: [7, 5] });
    plot.curve([[x[1], 0], [x[1], slice.density(x[1])]], "ink", { width: 1.5 });
    plot.handle([x[1], slice.density(x[1])], "orange", 6);
    const line = (k: number): Point => [x2[0] + 0.03 * width, (1.2 - 0.09 * k) * highest];
    plot.text(`q(x₂ | x₁ = ${shown(x[0], 2)})`, line(0), "orange");
    plot.text("dashed: N(μ, σ²)", line(1), "green");
  }
}
