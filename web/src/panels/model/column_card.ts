// One column of a model: its distribution, and a value at which it may be held.

import { stepOf, valuesOf, valueText, type Column, type Marginal, type Value } from "./columns";
import { words } from "../../drawing/frame";
import { Plot } from "../../drawing/plot";
import type { Point } from "../../protocol";
import { checkbox, h, type Control } from "../../page/ui";

const MOST_BARS = 12;

export class ColumnCard {
  readonly element: HTMLElement;
  private readonly plot: Plot;
  private readonly check: Control<boolean>;
  private readonly input: HTMLInputElement | HTMLSelectElement;
  private readonly output = h("output", { class: "number" });
  private readonly values: Value[] | null;
  private usual: Marginal | null = null;
  private now: Marginal | null = null;

  constructor(readonly column: Column, given: Value | null, changed: () => void) {
    this.values = valuesOf(column);
    const held = given !== null || column.required === true;
    this.check = checkbox("given", held, () => {
      this.show();
      changed();
    });
    (this.check.element.querySelector("input") as HTMLInputElement).setAttribute("aria-label", `${column.name} is given`);
    if (column.required) (this.check.element.querySelector("input") as HTMLInputElement).disabled = true;
    this.input = this.values ? this.list(this.values, given) : this.range(given);
    this.input.addEventListener(this.values ? "change" : "input", () => {
      this.check.set(true);
      this.show();
      changed();
    });
    this.plot = new Plot(
      { label: `Distribution of ${column.name}`, x: [0, 1], y: [0, 1], aspect: 0.56, axes: false },
      (plot) => this.draw(plot),
    );
    const name = h("strong", { title: column.name }, column.name);
    Object.assign(name.style, { overflow: "hidden", textOverflow: "ellipsis", whiteSpace: "nowrap" });
    const head = h("div", { class: "column-head" }, name, this.check.element);
    Object.assign(head.style, { display: "flex", justifyContent: "space-between", alignItems: "center", gap: "8px", minWidth: "0" });
    const foot = h("div", { class: "column-foot" }, this.input, this.values ? null : this.output);
    Object.assign(foot.style, { display: "flex", alignItems: "center", gap: "8px" });
    if (this.values) this.input.style.width = "100%";
    this.element = h("div", { class: "multiple", "data-column": column.name }, head, this.plot.element, foot);
    this.element.style.minWidth = "0";
    this.show();
  }

  destroy(): void {
    this.plot.destroy();
  }

  /** Says that the column cannot be held: the model takes no values of its columns. */
  lock(): void {
    (this.check.element.querySelector("input") as HTMLInputElement).disabled = true;
    this.input.disabled = true;
  }

  /** The value at which the column is held; null where it is free. */
  given(): Value | null {
    if (!this.check.value()) return null;
    return this.values ? (this.values[Number(this.input.value)] ?? null) : Number(this.input.value);
  }

  /** The distribution given the other columns; null while the column itself is given. */
  setNow(marginal: Marginal | null): void {
    this.now = marginal;
    this.redraw();
  }

  /** The distribution given nothing, which stays in the background. */
  setUsual(marginal: Marginal): void {
    this.usual = marginal;
    this.redraw();
  }

  hasUsual(): boolean {
    return this.usual !== null;
  }

  /** Holds the column no longer, unless it must be held. */
  free(): void {
    if (this.column.required) return;
    this.check.set(false);
    this.show();
  }

  redraw(): void {
    this.plot.redraw();
  }

  private list(values: readonly Value[], given: Value | null): HTMLSelectElement {
    const input = h("select", { "aria-label": `Value of ${this.column.name}` });
    values.forEach((value, k) => input.append(h("option", { value: k }, valueText(this.column, value))));
    input.value = String(Math.max(0, given === null ? 0 : values.indexOf(given)));
    return input;
  }

  private range(given: Value | null): HTMLInputElement {
    const { low = 0, high = 1, name } = this.column;
    const step = stepOf(this.column);
    const start = Number((step * Math.ceil(low / step)).toPrecision(12));
    const input = h("input", { type: "range", min: start, max: high, step, "aria-label": `Value of ${name}` });
    input.value = String(typeof given === "number" ? given : (low + high) / 2);
    return input;
  }

  private show(): void {
    const value = this.values ? null : Number(this.input.value);
    if (value !== null) {
      const text = valueText(this.column, value);
      this.output.textContent = text;
      this.input.setAttribute("aria-valuetext", text);
    }
    this.output.style.color = this.check.value() ? "" : "var(--soft)";
    this.output.dataset.value = String(value ?? "");
    this.redraw();
  }

  private draw(plot: Plot): void {
    plot.x.range([8, plot.width - 8]);
    plot.y.range([plot.height - 24, 12]);
    const now = this.check.value() ? null : this.now;
    if (this.values) this.bars(plot, now);
    else this.densities(plot, now);
  }

  private densities(plot: Plot, now: Marginal | null): void {
    const [usual, here] = [curveOf(this.usual), curveOf(now)];
    const all = usual.length ? usual : here;
    const { low = 0, high = 1 } = this.column;
    const [left, right] = all.length ? [all[0][0], all[all.length - 1][0]] : [low, high];
    plot.x.domain(left < right ? [left, right] : [left - 1, left + 1]);
    // Room above the usual density keeps the axis still while a conditional one changes a little.
    const tallest = Math.max(1.5 * highest(usual), highest(here), 1e-300);
    plot.y.domain([0, 1.05 * tallest]);
    plot.curve([[left, 0], [right, 0]], "line", { width: 1 });
    plot.area(usual, "soft", 0.1);
    plot.curve(usual, "soft", { width: 1.3, opacity: 0.75 });
    plot.area(here, "orange", 0.22);
    plot.curve(here, "orange", { width: 2 });
    const given = this.given();
    if (typeof given === "number") plot.curve([[given, 0], [given, 1.05 * tallest]], "ink", { width: 2.5 });
    words(plot, valueText(this.column, low), 8, plot.height - 13, "soft", "left", 12);
    words(plot, valueText(this.column, high), plot.width - 8, plot.height - 13, "soft", "right", 12);
  }

  private bars(plot: Plot, now: Marginal | null): void {
    const values = this.values ?? [];
    const usual = this.usual?.probabilities ?? [];
    const here = now?.probabilities ?? [];
    const order = values.map((_, k) => k);
    if (values.length > MOST_BARS) order.sort((a, b) => (usual[b] ?? here[b] ?? 0) - (usual[a] ?? here[a] ?? 0));
    const shownOnes = order.slice(0, MOST_BARS);
    const tallest = Math.max(...shownOnes.map((k) => Math.max(usual[k] ?? 0, here[k] ?? 0)), 0.05);
    plot.x.domain([-0.6, shownOnes.length - 0.4]);
    plot.y.domain([0, 1.12 * tallest]);
    const wide = plot.x(1) - plot.x(0);
    const given = this.given();
    shownOnes.forEach((k, place) => {
      if (usual[k] !== undefined) plot.box(place - 0.4, place + 0.4, 0, usual[k] ?? 0, "soft", 0.12);
      if (here[k] !== undefined) plot.box(place - 0.28, place + 0.28, 0, here[k] ?? 0, "orange", 0.5);
      if (values[k] === given) plot.box(place - 0.28, place + 0.28, 0, tallest, "ink", 0.3);
      const text = fitting(valueText(this.column, values[k]), wide);
      if (text) words(plot, text, plot.x(place), plot.height - 13, "soft", "center", 12);
    });
  }
}

function highest(curve: readonly Point[]): number {
  return curve.reduce((high, point) => Math.max(high, point[1]), 0);
}

function curveOf(marginal: Marginal | null): Point[] {
  if (!marginal?.x || !marginal.density) return [];
  const { density } = marginal;
  return marginal.x.map((x, k): Point => [x, density[k] ?? 0]);
}

/** A word, cut to so many pixels of small print; empty where not even two letters fit. */
export function fitting(text: string, width: number): string {
  const letters = Math.floor((width - 4) / 7);
  if (text.length <= letters) return text;
  return letters >= 3 ? `${text.slice(0, letters - 1)}…` : "";
}
