// Two ways to invert a triangular map, side by side, stage by stage, with a counter of evaluations.

import type { Lab } from "../../panel";
import { button, h, shown } from "../../page/ui";
import { facts } from "../../page/facts";
import { below, scrolling } from "./matrix";
import { inversion, TriangularMap, type Stage } from "./map";

const PAUSE = 700;

export class InverseView {
  readonly element: HTMLElement;
  private size = 0;
  private stages: Stage[] = [];
  private target: readonly number[] = [];
  private done = 0;
  private forward = 0;
  private timer = 0;
  private naive = scrolling("Passes of the naive inverse");
  private incremental = scrolling("The incremental inverse");
  private naiveCells: HTMLElement[][] = [];
  private incrementalCells: HTMLElement[] = [];
  private run: HTMLButtonElement;
  private step: HTMLButtonElement;
  private facts = facts([
    ["forward", "forward x = T(z), one pass: evaluations"],
    ["incremental", "incremental inverse: evaluations so far"],
    ["naive", "naive inverse: evaluations so far"],
    ["error", "largest error of z, of what is known"],
  ]);

  constructor(private lab: Lab) {
    this.run = button("Invert x", () => this.play(), "main");
    this.step = button("One step", () => this.advance());
    this.element = h(
      "section", { "aria-label": "Inverse" },
      h("h3", {}, "Back from x to z: D passes against one"),
      h("div", { class: "controls" }, this.run, this.step, button("Start again", () => this.restart())),
      this.facts.element,
      h(
        "div", { class: "row" },
        h("div", {}, h("p", {}, "Naive: in each pass the whole map runs, all D functions; one more number is right."), this.naive),
        h("div", {}, h("p", {}, "Incremental: each function runs once, when the numbers before it are known."), this.incremental),
      ),
      h(
        "p", { class: "note" },
        "x₁ depends on z₁ alone, so z₁ can be found; then x₂ gives z₂, and so on: the inverse goes feature by feature. If " +
          "the whole map is run each time, that takes D passes, D² evaluations; if only what is new is computed, it takes " +
          "D, as many as one pass. Forward needs one pass too, and there all functions can run at once.",
      ),
    );
    if (lab.still()) this.run.remove();
  }

  destroy(): void {
    window.clearTimeout(this.timer);
  }

  /** The map and the point have changed; what is done stays done. */
  show(map: TriangularMap, z: readonly number[]): void {
    const counted = new TriangularMap(map.size, map.params);
    const x = counted.forward(z);
    this.forward = counted.evaluations;
    this.target = z;
    this.stages = inversion(map, x);
    if (z.length !== this.size) this.build(z.length);
    this.fill();
  }

  private build(size: number): void {
    this.size = size;
    window.clearTimeout(this.timer);
    this.done = 0;
    const row = () => Array.from({ length: size }, () => h("td", {}));
    this.naiveCells = Array.from({ length: size }, row);
    this.incrementalCells = row();
    const table = (caption: string, names: string[], rows: HTMLElement[][]) =>
      h(
        "table", { class: "matrix passes" },
        h("caption", { class: "hidden" }, caption),
        h("thead", {}, h("tr", {}, h("td", {}), ...this.names().map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, ...rows.map((cells, k) => h("tr", {}, h("th", { scope: "row" }, names[k]), ...cells))),
      );
    const passes = this.naiveCells.map((_, k) => `pass ${k + 1}`);
    this.naive.replaceChildren(table("What each pass of the naive inverse finds", passes, this.naiveCells));
    this.incremental.replaceChildren(table("What the incremental inverse finds", ["one pass"], [this.incrementalCells]));
  }

  private names(): string[] {
    return Array.from({ length: this.size }, (_, k) => below("z", k + 1));
  }

  private fill(): void {
    const { done, size, stages, target } = this;
    this.naiveCells.forEach((cells, k) =>
      cells.forEach((cell, j) => {
        cell.textContent = k < done ? shown(stages[k].naive[j], 2) : "·";
        cell.className = k < done && j <= k ? "found" : "zero";
      }),
    );
    const found = done > 0 ? stages[done - 1].incremental : [];
    this.incrementalCells.forEach((cell, j) => {
      cell.textContent = j < done ? shown(found[j], 2) : "·";
      cell.className = j < done ? "found" : "zero";
    });
    const last = done > 0 ? stages[done - 1] : null;
    const both = last ? [...last.naive.slice(0, done), ...last.incremental] : [];
    const error = Math.max(0, ...both.map((value, k) => Math.abs(value - target[k % done])));
    this.facts.set("forward", this.forward, `${this.forward}`);
    this.facts.set("incremental", last?.incrementalEvaluations ?? 0, `${last?.incrementalEvaluations ?? 0} of ${size}`);
    this.facts.set("naive", last?.naiveEvaluations ?? 0, `${last?.naiveEvaluations ?? 0} of ${size * size}`);
    this.facts.set("error", error, error === 0 ? "0" : error < 1e-9 ? "below 10⁻⁹" : shown(error, 6));
    this.step.disabled = done === size;
  }

  private advance(): void {
    window.clearTimeout(this.timer);
    this.done = Math.min(this.size, this.done + 1);
    this.fill();
  }

  private restart(): void {
    window.clearTimeout(this.timer);
    this.done = 0;
    this.fill();
  }

  private play(): void {
    if (this.done === this.size) this.restart();
    this.advance();
    if (this.done < this.size && !this.lab.still()) this.timer = window.setTimeout(() => this.play(), PAUSE);
  }
}
