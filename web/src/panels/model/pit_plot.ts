// Where the values of a column lie in their predicted distributions: flat if these are calibrated.

import { Plot } from "../../drawing/plot";
import { h, shown } from "../../page/ui";

export interface Pit {
  name: string;
  counts: number[];
  p_value: number | null;
}

export function pitPlot({ name, counts, p_value }: Pit): { element: HTMLElement; plot: Plot } {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const expected = total / Math.max(counts.length, 1);
  const around = 1.96 * Math.sqrt(expected * (1 - 1 / Math.max(counts.length, 2)));
  const plot = new Plot(
    { label: `PIT histogram of ${name}`, x: [0, 1], y: [0, 1], aspect: 0.5, axes: false },
    (plot) => {
      plot.y.domain([0, 1.08 * Math.max(...counts, expected + around, 1e-9)]);
      counts.forEach((count, k) => plot.box(k / counts.length, (k + 1) / counts.length, 0, count, "orange", 0.45));
      plot.box(0, 1, expected - around, expected + around, "green", 0.14);
      plot.curve([[0, expected], [1, expected]], "green", { width: 2 });
    },
  );
  const label = h("strong", { title: name }, name);
  Object.assign(label.style, { display: "block", overflow: "hidden", textOverflow: "ellipsis", whiteSpace: "nowrap" });
  const verdict = p_value === null ? "" : p_value < 0.001 ? "p < 0.001" : `p = ${shown(p_value, 3)}`;
  const element = h("div", { class: "multiple", "data-pit": name }, label, plot.element,
    h("span", { class: "note number", "data-value": p_value }, verdict));
  element.style.minWidth = "0";
  return { element, plot };
}
