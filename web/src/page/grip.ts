// A point on a plot that is moved by mouse, touch and arrow keys: a button over the canvas.

import type { Plot } from "../drawing/plot";
import { clamp } from "../drawing/plot";
import type { Point } from "../protocol";
import { h } from "./ui";

export interface Grip {
  button: HTMLButtonElement;
  /** Puts the button where the point is drawn; call it in each drawing. `words` say where, in few words. */
  place(at: Point, words: string): void;
}

/** Steps of an arrow key from one end of the axis to the other. */
const STEPS = 128;

/** `name` comes first in what a screen reader says; `moved` gets where the user wants the point. */
export function grip(plot: Plot, name: string, moved: (at: Point) => void): Grip {
  let at: Point = [0, 0];
  let offset: Point | null = null;
  let pointer = 0;
  const button = h("button", { type: "button", class: "grip" });
  Object.assign(button.style, {
    position: "absolute", width: "32px", height: "32px", minWidth: "0", minHeight: "0", margin: "-16px 0 0 -16px",
    padding: "0", border: "0", background: "transparent", borderRadius: "50%", boxShadow: "none", cursor: "grab",
    touchAction: "none",
  });
  plot.element.style.position = "relative";
  plot.element.append(button);

  button.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    pointer = event.pointerId;
    button.setPointerCapture(pointer);
    button.focus({ preventScroll: true });
    const place = plot.place(event);
    offset = [at[0] - place[0], at[1] - place[1]];
    event.preventDefault();
  });
  button.addEventListener("pointermove", (event) => {
    if (offset === null || event.pointerId !== pointer) return;
    const place = plot.place(event);
    moved([place[0] + offset[0], place[1] + offset[1]]);
  });
  const release = () => (offset = null);
  button.addEventListener("pointerup", release);
  button.addEventListener("pointercancel", release);
  button.addEventListener("lostpointercapture", release);
  button.addEventListener("keydown", (event) => {
    const [low, high] = plot.x.domain();
    const step = ((event.shiftKey ? 10 : 1) * (high - low)) / STEPS;
    const moves: Record<string, Point> = {
      ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step],
    };
    const move = event.key === "Home" ? ([-at[0], -at[1]] as Point) : moves[event.key];
    if (!move || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    moved([at[0] + move[0], at[1] + move[1]]);
  });
  return {
    button,
    place(point, words) {
      at = point;
      const [[left, right], [bottom, top]] = [plot.x.range(), plot.y.range()];
      button.style.left = `${clamp(plot.x(point[0]), left, right)}px`;
      button.style.top = `${clamp(plot.y(point[1]), top, bottom)}px`;
      button.setAttribute("aria-label", `${name}: ${words}. Arrow keys move it.`);
      button.dataset.value = `${point[0]},${point[1]}`;
    },
  };
}
