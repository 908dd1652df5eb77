// What the four ways to break a flow have in common.

import type { Lab, State } from "../../panel";
import type { Plot } from "../../drawing/plot";
import { h, onceAFrame, shown } from "../../page/ui";

export interface Demo {
  element: HTMLElement;
  /** Draws at once, as when colours have changed. */
  redraw(): void;
  destroy(): void;
  python(): string;
}

export interface DemoPlace {
  lab: Lab;
  /** What the URL says, with what has been changed since. */
  state: State;
  keep(changed: State): void;
}

/** The element of a demo, and its drawing. */
export function demoOf(parts: {
  formula: HTMLElement;
  controls: readonly HTMLElement[];
  plots: readonly Plot[];
  facts: HTMLElement;
  why: string;
}): { element: HTMLElement; request(): void; redraw(): void; destroy(): void } {
  const redraw = () => parts.plots.forEach((plot) => plot.redraw());
  const drawing = onceAFrame(redraw);
  return {
    element: h(
      "div", {},
      h("p", { class: "formula", tabindex: "0", role: "group", "aria-label": "Formula" }, parts.formula),
      h("div", { class: "controls" }, ...parts.controls),
      h("div", { class: "row" }, ...parts.plots.map((plot) => plot.element)),
      parts.facts,
      h("p", { class: "note" }, parts.why),
    ),
    request: () => drawing.request(),
    redraw,
    destroy() {
      drawing.cancel();
      parts.plots.forEach((plot) => plot.destroy());
    },
  };
}

/** A negative log-likelihood as it is shown. */
export function nats(value: number): string {
  return `${shown(value, 3)} nats`;
}
