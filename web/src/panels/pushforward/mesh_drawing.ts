// How a mesh looks: cells filled by a colour, lines, one cell outlined; and the scale of colours of log|det|.

import type { Cell, Mesh, MeshImage } from "../../maths/mesh";
import { diverging, type Colour, type Plot } from "../../drawing/plot";
import type { Point } from "../../protocol";
import { h, shown } from "../../page/ui";

/** Fills each cell with a colour and an opacity. */
export function fillCells(
  plot: Plot, mesh: Mesh, image: MeshImage, paint: (cell: Cell) => { colour: string; opacity: number },
): void {
  const pen = plot.pen;
  pen.save();
  mesh.each((cell) => {
    const { colour, opacity } = paint(cell);
    if (!(opacity > 0)) return;
    pen.fillStyle = colour;
    pen.globalAlpha = opacity;
    if (trace(plot, mesh.outline(image, cell))) pen.fill();
  });
  pen.restore();
}

/** Each cell by log|det|: blue where the map shrinks areas, orange where it stretches them. */
export function fillByLadj(plot: Plot, mesh: Mesh, places: MeshImage, ladj: MeshImage, highest: number): void {
  fillCells(plot, mesh, places, (cell) => {
    const value = ladj.ladj[mesh.middle(cell)];
    return { colour: diverging(plot, value, highest), opacity: Number.isFinite(value) ? 0.85 : 0 };
  });
}

/** Each cell by its density: that of z, divided by |det| of the map. */
export function fillByDensity(plot: Plot, mesh: Mesh, image: MeshImage, colour: Colour): void {
  const density = (cell: Cell) => Math.exp(mesh.logLatent(cell) - image.ladj[mesh.middle(cell)]);
  let highest = 0;
  mesh.each((cell) => (highest = Math.max(highest, density(cell) || 0)));
  const paint = plot.colour(colour);
  fillCells(plot, mesh, image, (cell) => ({ colour: paint, opacity: 0.92 * Math.sqrt(density(cell) / highest) }));
}

/** The lines of the grid. */
export function gridLines(
  plot: Plot, mesh: Mesh, image: MeshImage, colour: Colour, options: { opacity?: number; width?: number } = {},
): void {
  for (let k = 0; k < mesh.side; k += 2) {
    const [row, column]: [Point[], Point[]] = [[], []];
    for (let along = 0; along < mesh.side; along++) {
      row.push(mesh.place(image, k * mesh.side + along));
      column.push(mesh.place(image, along * mesh.side + k));
    }
    plot.curve(row, colour, { width: options.width ?? 0.8, opacity: options.opacity ?? 0.55 });
    plot.curve(column, colour, { width: options.width ?? 0.8, opacity: options.opacity ?? 0.55 });
  }
}

export function outlineCell(plot: Plot, mesh: Mesh, image: MeshImage, cell: Cell): void {
  const pen = plot.pen;
  pen.save();
  pen.lineJoin = "round";
  if (trace(plot, mesh.outline(image, cell))) {
    pen.strokeStyle = plot.colour("paper");
    pen.lineWidth = 4;
    pen.stroke();
    pen.strokeStyle = plot.colour("ink");
    pen.lineWidth = 2;
    pen.stroke();
  }
  pen.restore();
}

/** A scale of the colours of log|det| from -highest to highest; `set` writes the numbers at its ends. */
export function ladjLegend(): { element: HTMLElement; set(highest: number): void } {
  const bar = h("div", { class: "legend-bar", "aria-hidden": "true" });
  const stops: string[] = [];
  for (let k = -4; k <= 4; k++) {
    const share = Math.round(85 * Math.abs(k / 4) ** 0.7);
    stops.push(`color-mix(in srgb, var(--${k < 0 ? "blue" : "orange"}) ${share}%, transparent) ${(k + 4) * 12.5}%`);
  }
  bar.style.backgroundImage = `linear-gradient(to right, ${stops.join(", ")})`;
  bar.style.height = "10px";
  bar.style.border = "1px solid var(--line)";
  const [low, high] = [h("span", { class: "number" }), h("span", { class: "number" })];
  high.style.textAlign = "right";
  const ends = h("div", { class: "legend-ends" },
    h("span", {}, low, " shrinks areas"), h("span", {}, "log |det|"), h("span", {}, "stretches areas ", high));
  Object.assign(ends.style, { display: "flex", justifyContent: "space-between", gap: "8px", fontSize: "14px" });
  const element = h("div", { class: "legend" }, bar, ends);
  element.style.margin = "10px 0";
  return {
    element,
    set(highest) {
      low.textContent = shown(-highest, 2);
      high.textContent = shown(highest, 2);
      low.dataset.value = String(-highest);
      high.dataset.value = String(highest);
    },
  };
}

function trace(plot: Plot, outline: readonly Point[]): boolean {
  const pen = plot.pen;
  pen.beginPath();
  for (const [x, y] of outline) {
    const [left, top] = [plot.x(x), plot.y(y)];
    if (!(Math.abs(left) < 1e5 && Math.abs(top) < 1e5)) return false;
    pen.lineTo(left, top);
  }
  pen.closePath();
  return true;
}
