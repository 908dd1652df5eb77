// A drawing area with axes on a canvas. Colours come from the style sheet, so that light and dark need no other code.

import { ticks } from "d3-array";
import { scaleLinear, type ScaleLinear } from "d3-scale";

import type { Point } from "../protocol";
import { h, shown } from "../page/ui";

export type Colour =
  | "ink" | "soft" | "line" | "paper" | "blue" | "orange" | "green" | "red" | "purple" | "sky" | "yellow";

export interface PlotOptions {
  /** What the picture shows, for those who do not see it. */
  label: string;
  x: Point;
  y: Point;
  xTitle?: string;
  yTitle?: string;
  /** Height over width; with "equal" one unit is as long along both axes, and the height follows from the ranges. */
  aspect?: number | "equal";
  /** Whether numbers stand beside the axes; true by default. */
  axes?: boolean;
}

const MARGIN = { left: 44, right: 10, top: 10, bottom: 34 };
const BARE = { left: 6, right: 6, top: 6, bottom: 6 };

/** A canvas that follows the width of its place, sharp on every screen; `draw` is called whenever it must be drawn. */
export class Plot {
  readonly element: HTMLElement;
  readonly canvas: HTMLCanvasElement;
  readonly x: ScaleLinear<number, number>;
  readonly y: ScaleLinear<number, number>;
  width = 0;
  height = 0;
  private context: CanvasRenderingContext2D;
  private observer: ResizeObserver;
  private style: CSSStyleDeclaration;

  constructor(
    private options: PlotOptions,
    private draw: (plot: Plot) => void,
  ) {
    this.canvas = h("canvas", { role: "img", "aria-label": options.label });
    this.element = h("div", { class: "plot" }, this.canvas);
    this.context = this.canvas.getContext("2d") as CanvasRenderingContext2D;
    this.style = getComputedStyle(this.canvas);
    this.x = scaleLinear().domain(options.x);
    this.y = scaleLinear().domain(options.y);
    this.element.style.aspectRatio = String(1 / this.ratio());
    this.observer = new ResizeObserver(() => this.redraw());
    this.observer.observe(this.element);
  }

  /** Changes the ranges of the axes; the next drawing has them. */
  ranges(x: Point, y: Point): void {
    this.x.domain(x);
    this.y.domain(y);
  }

  titles(xTitle: string, yTitle: string): void {
    this.options = { ...this.options, xTitle, yTitle };
  }

  redraw(): void {
    const box = this.element.getBoundingClientRect();
    if (box.width < 20) return;
    const sharp = window.devicePixelRatio || 1;
    this.width = box.width;
    this.height = box.height;
    const [columns, rows] = [Math.round(box.width * sharp), Math.round(box.height * sharp)];
    if (this.canvas.width !== columns || this.canvas.height !== rows) {
      this.canvas.width = columns;
      this.canvas.height = rows;
    }
    const margin = this.margin();
    this.x.range([margin.left, this.width - margin.right]);
    this.y.range([this.height - margin.bottom, margin.top]);
    this.context.setTransform(sharp, 0, 0, sharp, 0, 0);
    this.context.clearRect(0, 0, this.width, this.height);
    if (this.options.axes !== false) this.axes();
    this.context.save();
    this.context.beginPath();
    this.context.rect(
      margin.left, margin.top, this.width - margin.left - margin.right, this.height - margin.top - margin.bottom,
    );
    this.context.clip();
    this.draw(this);
    this.context.restore();
  }

  destroy(): void {
    this.observer.disconnect();
  }

  colour(name: Colour): string {
    return this.style.getPropertyValue(`--${name}`).trim() || "#888";
  }

  /** The canvas itself, for what is not here; units are CSS pixels. */
  get pen(): CanvasRenderingContext2D {
    return this.context;
  }

  /** The place in data units of a pointer event. */
  place(event: PointerEvent | MouseEvent): Point {
    const box = this.canvas.getBoundingClientRect();
    return [this.x.invert(event.clientX - box.left), this.y.invert(event.clientY - box.top)];
  }

  curve(points: readonly Point[], colour: Colour, options: { width?: number; dash?: number[]; opacity?: number } = {}): void {
    const pen = this.context;
    pen.save();
    pen.globalAlpha = options.opacity ?? 1;
    pen.strokeStyle = this.colour(colour);
    pen.lineWidth = options.width ?? 2;
    pen.lineJoin = "round";
    pen.setLineDash(options.dash ?? []);
    pen.beginPath();
    let drawing = false;
    for (const [x, y] of points) {
      const [left, top] = [this.x(x), clamp(this.y(y), -1e4, 1e4)];
      if (!Number.isFinite(left) || !Number.isFinite(top)) drawing = false;
      else if (drawing) pen.lineTo(left, top);
      else {
        pen.moveTo(left, top);
        drawing = true;
      }
    }
    pen.stroke();
    pen.restore();
  }

  area(points: readonly Point[], colour: Colour, opacity = 0.18, floor = 0): void {
    if (!points.length) return;
    const pen = this.context;
    pen.save();
    pen.globalAlpha = opacity;
    pen.fillStyle = this.colour(colour);
    pen.beginPath();
    pen.moveTo(this.x(points[0][0]), this.y(floor));
    for (const [x, y] of points) pen.lineTo(this.x(x), clamp(this.y(y), -1e4, 1e4));
    pen.lineTo(this.x(points[points.length - 1][0]), this.y(floor));
    pen.fill();
    pen.restore();
  }

  box(x0: number, x1: number, y0: number, y1: number, colour: Colour, opacity = 0.35): void {
    const pen = this.context;
    pen.save();
    pen.fillStyle = pen.strokeStyle = this.colour(colour);
    const [left, top] = [Math.min(this.x(x0), this.x(x1)), Math.min(this.y(y0), this.y(y1))];
    const [width, height] = [Math.abs(this.x(x1) - this.x(x0)), Math.abs(this.y(y1) - this.y(y0))];
    pen.globalAlpha = opacity;
    pen.fillRect(left, top, width, height);
    pen.globalAlpha = 1;
    pen.strokeRect(left, top, width, height);
    pen.restore();
  }

  dots(points: readonly Point[], colour: Colour, radius = 1.6, opacity = 0.5): void {
    const pen = this.context;
    pen.save();
    pen.globalAlpha = opacity;
    pen.fillStyle = this.colour(colour);
    for (const [x, y] of points) {
      pen.beginPath();
      pen.arc(this.x(x), this.y(y), radius, 0, 2 * Math.PI);
      pen.fill();
    }
    pen.restore();
  }

  /** A handle that can be dragged. */
  handle(at: Point, colour: Colour, radius = 8): void {
    const pen = this.context;
    pen.save();
    pen.beginPath();
    pen.arc(this.x(at[0]), this.y(at[1]), radius, 0, 2 * Math.PI);
    pen.fillStyle = this.colour(colour);
    pen.fill();
    pen.lineWidth = 2;
    pen.strokeStyle = this.colour("paper");
    pen.stroke();
    pen.restore();
  }

  text(words: string, at: Point, colour: Colour = "ink", align: CanvasTextAlign = "left", size = 13): void {
    const pen = this.context;
    pen.save();
    pen.fillStyle = this.colour(colour);
    pen.font = `${size}px ${this.style.fontFamily}`;
    pen.textAlign = align;
    pen.fillText(words, this.x(at[0]), this.y(at[1]));
    pen.restore();
  }

  /** A picture of values, rows from below, over the ranges of x and y: from paper (0) to a colour (highest). */
  field(values: ArrayLike<number>, columns: number, x: Point, y: Point, colour: Colour = "blue", highest?: number): void {
    const rows = values.length / columns;
    let top = highest ?? 0;
    if (highest === undefined) for (let k = 0; k < values.length; k++) top = Math.max(top, values[k] || 0);
    const image = new ImageData(columns, rows);
    const [red, green, blue] = rgb(this.colour(colour));
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++) {
        const value = values[(rows - 1 - row) * columns + column];
        const place = 4 * (row * columns + column);
        image.data[place] = red;
        image.data[place + 1] = green;
        image.data[place + 2] = blue;
        image.data[place + 3] = Number.isFinite(value) && top > 0 ? 235 * Math.sqrt(clamp(value / top, 0, 1)) : 0;
      }
    const small = document.createElement("canvas");
    small.width = columns;
    small.height = rows;
    (small.getContext("2d") as CanvasRenderingContext2D).putImageData(image, 0, 0);
    this.context.imageSmoothingEnabled = true;
    this.context.drawImage(small, this.x(x[0]), this.y(y[1]), this.x(x[1]) - this.x(x[0]), this.y(y[0]) - this.y(y[1]));
  }

  private margin(): typeof MARGIN {
    return this.options.axes === false ? BARE : MARGIN;
  }

  private ratio(): number {
    const { aspect, x, y } = this.options;
    if (typeof aspect === "number") return aspect;
    return aspect === "equal" ? (y[1] - y[0]) / (x[1] - x[0]) : 0.62;
  }

  private axes(): void {
    const pen = this.context;
    const [[left, right], [bottom, top]] = [this.x.range(), this.y.range()];
    pen.save();
    pen.font = `12px ${this.style.fontFamily}`;
    pen.lineWidth = 1;
    pen.strokeStyle = this.colour("line");
    pen.fillStyle = this.colour("soft");
    pen.textBaseline = "middle";
    for (const value of ticks(this.x.domain()[0], this.x.domain()[1], Math.max(2, this.width / 90))) {
      line(pen, this.x(value), bottom, this.x(value), top);
      pen.textAlign = "center";
      pen.fillText(shown(value, decimals(value)), this.x(value), bottom + 12);
    }
    for (const value of ticks(this.y.domain()[0], this.y.domain()[1], Math.max(2, this.height / 70))) {
      line(pen, left, this.y(value), right, this.y(value));
      pen.textAlign = "right";
      pen.fillText(shown(value, decimals(value)), left - 6, this.y(value));
    }
    pen.fillStyle = this.colour("ink");
    pen.textAlign = "right";
    if (this.options.xTitle) pen.fillText(this.options.xTitle, right, bottom + 26);
    pen.textAlign = "left";
    if (this.options.yTitle) pen.fillText(this.options.yTitle, left + 4, top + 6);
    pen.restore();
  }
}

/** Ten colours from blue over paper to orange for numbers around zero, safe for those who do not see red or green. */
export function diverging(plot: Plot, value: number, highest: number): string {
  const share = clamp(value / (highest || 1), -1, 1);
  const [red, green, blue] = rgb(plot.colour(share < 0 ? "blue" : "orange"));
  return `rgba(${red}, ${green}, ${blue}, ${Math.abs(share) ** 0.7})`;
}

export function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}

/** A straight line between two places in CSS pixels. */
export function line(pen: CanvasRenderingContext2D, x0: number, y0: number, x1: number, y1: number): void {
  pen.beginPath();
  pen.moveTo(x0, y0);
  pen.lineTo(x1, y1);
  pen.stroke();
}

function decimals(value: number): number {
  const size = Math.abs(value);
  if (size === 0 || Number.isInteger(value)) return 0;
  return Number.isInteger(10 * size) || Math.abs(10 * size - Math.round(10 * size)) < 1e-9 ? 1 : 2;
}

function rgb(colour: string): [number, number, number] {
  const hex = colour.replace("#", "");
  const full = hex.length === 3 ? [...hex].map((digit) => digit + digit).join("") : hex;
  return [0, 2, 4].map((place) => parseInt(full.slice(place, place + 2), 16) || 0) as [number, number, number];
}
