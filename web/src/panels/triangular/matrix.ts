// A small matrix as a table whose cells are coloured by their values: orange above zero, blue below.

import { h } from "../../page/ui";
import { put, significant } from "../../page/facts";

/** Unicode subscripts: x₁, x₂, … */
export function below(name: string, k: number): string {
  return `${name}${"₀₁₂₃₄₅₆₇₈₉"[k]}`;
}

/** A place that scrolls sideways where a table is too wide, also by keys. */
export function scrolling(label: string): HTMLElement {
  return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": label });
}

export class MatrixTable {
  readonly element: HTMLElement;
  private cells: HTMLElement[][];

  constructor(caption: string, size: number, row: string, column: string) {
    const indices = Array.from({ length: size }, (_, k) => k);
    this.cells = indices.map((i) => indices.map((j) => h("td", { "data-cell": `${i + 1},${j + 1}` })));
    this.element = h(
      "table", { class: "matrix" },
      h("caption", {}, caption),
      h("thead", {}, h("tr", {}, h("td", {}), ...indices.map((j) => h("th", { scope: "col" }, below(column, j + 1))))),
      h(
        "tbody", {},
        ...this.cells.map((cells, i) => h("tr", {}, h("th", { scope: "row" }, below(row, i + 1)), ...cells)),
      ),
    );
  }

  show(values: readonly (readonly number[])[]): void {
    const highest = Math.max(...values.flat().map(Math.abs), 1e-300);
    values.forEach((row, i) =>
      row.forEach((value, j) => {
        const cell = this.cells[i][j];
        put(cell, value, value === 0 ? "0" : significant(value, 2));
        const share = Math.round(45 * (Math.abs(value) / highest) ** 0.6);
        const colour = value > 0 ? "orange" : "blue";
        cell.style.background = value === 0 ? "none" : `color-mix(in srgb, var(--${colour}) ${share}%, transparent)`;
        cell.classList.toggle("zero", value === 0);
        cell.classList.toggle("diagonal", i === j);
      }),
    );
  }
}
