// Points that are sprayed onto a plot by mouse or touch.

import { normals } from "../maths/random";
import { clamp, type Plot } from "../drawing/plot";
import type { Point } from "../protocol";

const POINTS_A_MOVE = 6;
/** Of the spray, as a share of the width of the plot. */
const SPREAD = 0.022;

/** Sprays while the pointer is down and `active()` says so; `sprayed` gets the points, `ended` the end of a stroke. */
export function brush(plot: Plot, active: () => boolean, sprayed: (points: Point[]) => void, ended: () => void): void {
  let down = false;
  plot.canvas.addEventListener("pointerdown", (event) => {
    if (!active() || event.button !== 0) return;
    down = true;
    plot.canvas.setPointerCapture(event.pointerId);
    event.preventDefault();
    sprayed(spray(plot, plot.place(event), POINTS_A_MOVE, SPREAD));
  });
  plot.canvas.addEventListener("pointermove", (event) => {
    if (!down) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event])
      sprayed(spray(plot, plot.place(each), POINTS_A_MOVE, SPREAD));
  });
  const up = () => {
    if (!down) return;
    down = false;
    ended();
  };
  plot.canvas.addEventListener("pointerup", up);
  plot.canvas.addEventListener("pointercancel", up);
}

/** So many points around a place, normally distributed. */
export function spray(plot: Plot, at: Point, count: number, spread: number): Point[] {
  const [x, y] = [plot.x.domain(), plot.y.domain()];
  const [wide, high] = [x[1] - x[0], y[1] - y[0]];
  const random = normals(2 ** 32 * Math.random(), 2 * count);
  return Array.from({ length: count }, (_, k): Point => [
    clamp(at[0] + spread * wide * random[2 * k], x[0], x[1]),
    clamp(at[1] + spread * high * random[2 * k + 1], y[0], y[1]),
  ]);
}
