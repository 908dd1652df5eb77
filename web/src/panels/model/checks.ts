// A table held against a model: its most unusual rows with the reasons, and whether predictions are calibrated.

import { entryText } from "./columns";
import type { Lab } from "../../panel";
import type { Plot } from "../../drawing/plot";
import { pitPlot, type Pit } from "./pit_plot";
import { button, h, shown } from "../../page/ui";
import { upload, type UploadedFile } from "../../page/upload";

interface Reason {
  column: string;
  value?: unknown;
  surprise: number | null;
  usual: unknown;
}

interface Anomaly {
  number?: number;
  row: Record<string, unknown>;
  score: number | null;
  reasons: Reason[];
}

const COUNT = 20;

export class ModelChecks {
  readonly element: HTMLElement;
  private file: UploadedFile | null = null;
  private plots: Plot[] = [];
  private asked = 0;
  private readonly rows = h("div", {
    class: "scroll", "data-part": "anomalies", role: "region", "aria-label": "Most unusual rows", tabindex: "0",
  });
  private readonly pits = h("div", { "data-part": "pit" });
  private readonly about = h("p", { class: "note" }, "Without a table, rows of the model itself are taken.");
  private readonly buttons: HTMLButtonElement[];

  constructor(private readonly lab: Lab) {
    this.buttons = [
      button("Find unusual rows", () => void this.anomalies()),
      button("Check calibration", () => void this.pit()),
    ];
    this.element = h("div", {},
      h("h3", {}, "A table held against the model"),
      h("div", { class: "controls" }, upload("Table (CSV)", (file) => this.take(file), lab.say), ...this.buttons),
      this.about, this.rows, this.pits,
    );
  }

  destroy(): void {
    this.asked += 1;
    this.clearPlots();
  }

  redraw(): void {
    for (const plot of this.plots) plot.redraw();
  }

  private take(file: UploadedFile): void {
    this.file = file;
    this.lab.say("");
    this.about.textContent = `${file.name} is held against the model.`;
    this.rows.replaceChildren();
    this.pits.replaceChildren();
    this.clearPlots();
  }

  private async anomalies(): Promise<void> {
    const answer = await this.receive<{ rows: Anomaly[] }>("model.anomalies", { count: COUNT });
    if (answer) this.rows.replaceChildren(...anomalyTable(answer.rows));
  }

  private async pit(): Promise<void> {
    const answer = await this.receive<{ columns: Pit[] }>("model.pit", {});
    if (!answer) return;
    this.clearPlots();
    const made = answer.columns.map(pitPlot);
    this.plots = made.map(({ plot }) => plot);
    this.pits.replaceChildren(
      h("h3", {}, "Calibration"),
      h("p", { class: "note" },
        "The position of each value in its predicted distribution, from 0 (lowest) to 1 (highest). Bars near the green line: calibrated. High at both ends: predictions too narrow; high in the middle: too wide. The band holds 95% of the bars of a calibrated column; a small p says that chance alone hardly explains the shape."),
      made.length
        ? h("div", { class: "multiples" }, ...made.map(({ element }) => element))
        : h("p", { class: "note" }, "No column of this model has a distribution function to check."),
    );
  }

  private async receive<T>(call: string, options: Record<string, unknown>): Promise<T | null> {
    const asked = (this.asked += 1);
    for (const each of this.buttons) each.disabled = true;
    this.element.setAttribute("aria-busy", "true");
    try {
      const file = this.file ? { content: this.file.content, name: this.file.name } : {};
      const answer = await this.lab.transport.call<T>(call, { ...options, ...file });
      if (asked !== this.asked) return null;
      this.lab.say("");
      return answer;
    } catch (error) {
      if (asked === this.asked) this.lab.say(error);
      return null;
    } finally {
      for (const each of this.buttons) each.disabled = false;
      this.element.removeAttribute("aria-busy");
    }
  }

  private clearPlots(): void {
    for (const plot of this.plots) plot.destroy();
    this.plots = [];
  }
}

/** The rows, most unusual first; entries that are reasons stand out. */
function anomalyTable(rows: readonly Anomaly[]): HTMLElement[] {
  if (!rows.length) return [h("p", { class: "note" }, "There are no rows.")];
  const names = Object.keys(rows[0].row);
  const head = h("tr", {}, ...["Row", "Score", "Why", ...names].map((name) => h("th", { scope: "col" }, name)));
  const body = rows.map(({ number, row, score, reasons }, k) => {
    const surprising = new Set(reasons.map((reason) => reason.column));
    return h("tr", {},
      h("th", { scope: "row" }, String(number ?? k + 1)),
      h("td", { "data-value": score }, shown(score, 2)),
      h("td", {}, ...(reasons.length ? reasons.map(reasonLine) : ["–"])),
      ...names.map((name) => {
        const text = entryText(row[name]);
        return h("td", {}, surprising.has(name) ? h("strong", { class: "wrong" }, text) : text);
      }),
    );
  });
  return [
    h("h3", {}, "Most unusual rows"),
    h("p", { class: "note" },
      "The lower the score, the less likely the row. A surprise of one nat makes an entry 2.7 times less plausible than entries of its column usually are."),
    h("table", { class: "data" }, h("thead", {}, head), h("tbody", {}, ...body)),
  ];
}

function reasonLine({ column, value, surprise, usual }: Reason): HTMLElement {
  const found = value === undefined ? "" : ` = ${entryText(value)}`;
  const expected = usual === null || usual === undefined ? "" : `, expected ${entryText(usual)}`;
  return h("div", { "data-column": column, "data-value": surprise }, `${column}${found}${expected}: ${shown(surprise, 1)} nats`);
}
