// One of several coordinate systems on one drawing area, so that pictures beside each other share an axis to the pixel.

import { ticks } from "d3-array";

import { clamp, line, type Colour, type Plot } from "./plot";
import type { Point } from "../protocol";
import { shown } from "../page/ui";

export interface Box {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

export class Frame {
  constructor(
    private plot: Plot,
    readonly box: Box,
    readonly xDomain: Point,
    readonly yDomain: Point,
    /** Whether x grows to the left. */
    private mirrored = false,
  ) {}

  /** Draws inside of this frame: meanwhile the scales of the plot are those of the frame. */
  within(draw: () => void): void {
    const { pen } = this.plot;
    const { left, right, top, bottom } = this.box;
    this.enter();
    pen.save();
    pen.beginPath();
    pen.rect(left, top, right - left, bottom - top);
    pen.clip();
    draw();
    pen.restore();
  }

  /** Makes the scales of the plot those of this frame. */
  enter(): void {
    const { left, right, top, bottom } = this.box;
    this.plot.x.domain(this.xDomain).range(this.mirrored ? [right, left] : [left, right]);
    this.plot.y.domain(this.yDomain).range([bottom, top]);
  }

  /** Lines of a grid, with numbers below or at the left where wished. */
  axes(numbers: { below?: boolean; beside?: boolean; x?: boolean; y?: boolean }): void {
    this.enter();
    const { plot, box } = this;
    const { pen } = plot;
    pen.save();
    pen.font = fontOf(plot, 12);
    [pen.lineWidth, pen.strokeStyle, pen.fillStyle, pen.textBaseline] = [
      1, plot.colour("line"), plot.colour("soft"), "middle",
    ];
    if (numbers.x !== false)
      for (const value of ticks(...this.xDomain, clamp((box.right - box.left) / 55, 2, 8))) {
        line(pen, plot.x(value), box.top, plot.x(value), box.bottom);
        pen.textAlign = "center";
        if (numbers.below) pen.fillText(label(value), plot.x(value), box.bottom + 12);
      }
    if (numbers.y !== false)
      for (const value of ticks(...this.yDomain, clamp((box.bottom - box.top) / 45, 2, 8))) {
        line(pen, box.left, plot.y(value), box.right, plot.y(value));
        pen.textAlign = "right";
        if (numbers.beside) pen.fillText(label(value), box.left - 6, plot.y(value));
      }
    pen.restore();
  }

  /** The area between a curve and the vertical axis at x = 0. */
  sideArea(points: readonly Point[], colour: Colour, opacity = 0.18): void {
    if (!points.length) return;
    const { plot } = this;
    const { pen } = plot;
    pen.save();
    pen.globalAlpha = opacity;
    pen.fillStyle = plot.colour(colour);
    pen.beginPath();
    pen.moveTo(plot.x(0), plot.y(points[0][1]));
    for (const [x, y] of points) pen.lineTo(clamp(plot.x(x), -1e4, 1e4), plot.y(y));
    pen.lineTo(plot.x(0), plot.y(points[points.length - 1][1]));
    pen.fill();
    pen.restore();
  }

  /** A filled rectangle with a thin edge, of any colour. */
  rectangle(x: Point, y: Point, colour: string, opacity = 0.55): void {
    const { plot } = this;
    const { pen } = plot;
    const [x0, x1, y0, y1] = [plot.x(x[0]), plot.x(x[1]), plot.y(y[0]), plot.y(y[1])].map((at) => clamp(at, -1e4, 1e4));
    pen.save();
    pen.fillStyle = colour;
    pen.globalAlpha = opacity;
    pen.fillRect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0));
    pen.globalAlpha = 0.9;
    pen.lineWidth = 1;
    pen.strokeStyle = plot.colour("soft");
    pen.strokeRect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0));
    pen.restore();
  }
}

/** Words at a place in CSS pixels. */
export function words(
  plot: Plot, text: string, left: number, top: number, colour: Colour, align: CanvasTextAlign = "left", size = 13,
): void {
  const { pen } = plot;
  pen.save();
  pen.font = fontOf(plot, size);
  [pen.fillStyle, pen.textAlign, pen.textBaseline] = [plot.colour(colour), align, "middle"];
  // A rim of paper keeps words readable over curves.
  [pen.strokeStyle, pen.lineWidth, pen.lineJoin] = [plot.colour("paper"), 4, "round"];
  pen.strokeText(text, left, top);
  pen.fillText(text, left, top);
  pen.restore();
}

function fontOf(plot: Plot, size: number): string {
  return `${size}px ${getComputedStyle(plot.canvas).fontFamily}`;
}

function label(value: number): string {
  const size = Math.abs(value);
  const digits = [0, 1, 2, 3].find((count) => Math.abs(size * 10 ** count - Math.round(size * 10 ** count)) < 1e-6) ?? 3;
  return shown(value, digits);
}
