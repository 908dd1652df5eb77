// Break it: four mistakes, what they do to the integral, the samples and the likelihood, and why.

import type { Lab, Mounted, Panel, State } from "../../panel";
import { h, python } from "../../page/ui";
import { boxDemo } from "./box";
import type { Demo, DemoPlace } from "./demo";
import { foldDemo } from "./fold";
import { orderDemo } from "./order";
import { scaleDemo } from "./scale";
import { choices } from "../../page/choices";

type Name = "scale" | "fold" | "box" | "order";

const DEMOS: Record<Name, (place: DemoPlace) => Demo> = {
  scale: scaleDemo, fold: foldDemo, box: boxDemo, order: orderDemo,
};
const TITLES: readonly (readonly [Name, string])[] = [
  ["scale", "Drop the log-determinant"],
  ["fold", "Make the map decrease"],
  ["box", "Leave the spline’s box"],
  ["order", "Condition in the wrong order"],
];

export const brokenPanel: Panel = {
  id: "broken",
  title: "Break it",
  lead: "Four mistakes that are easily made, and how the integral, the samples and the likelihood give them away.",
  mount: (root, lab) => new Broken(root, lab),
};

class Broken implements Mounted {
  private state: State;
  private demo: Demo | null = null;
  private place = h("div", {});
  private offTheme: () => void;

  constructor(
    root: HTMLElement,
    private lab: Lab,
  ) {
    this.state = { ...lab.state };
    const first = TITLES.find(([name]) => name === this.state.t)?.[0] ?? "scale";
    root.append(
      choices("Ways to break a flow", TITLES, first, (name) => {
        this.open(name);
        this.keep({ t: name });
      }).element,
      this.place,
      python(() => this.demo?.python() ?? ""),
    );
    this.offTheme = lab.onTheme(() => this.demo?.redraw());
    this.open(first);
  }

  destroy(): void {
    this.offTheme();
    this.demo?.destroy();
  }

  private keep(changed: State): void {
    Object.assign(this.state, changed);
    this.lab.keep({ ...this.state });
  }

  private open(name: Name): void {
    this.demo?.destroy();
    this.demo = DEMOS[name]({ lab: this.lab, state: this.state, keep: (changed) => this.keep(changed) });
    this.place.replaceChildren(this.demo.element);
  }
}
