// Samples of a model: two columns against each other, and rows as a file.

import type { Column, Given } from "./columns";
import { latest, type Latest } from "../../page/latest";
import type { Lab } from "../../panel";
import { Scatter } from "./scatter";
import { button, h, select, shown, type Control } from "../../page/ui";

interface Sampled {
  csv: string;
  points: Record<string, unknown[]>;
}

const SHOWN = 1000;
const COUNTS = ["100", "1000", "10000", "50000"] as const;
/** Milliseconds without a change after which samples are drawn anew: densities come first. */
const PAUSE = 250;

export class ModelSamples {
  readonly element: HTMLElement;
  private readonly scatter = new Scatter();
  private readonly x: Control<string>;
  private readonly y: Control<string>;
  private readonly count: Control<string>;
  private readonly asked: Latest<Given>;
  private points: Record<string, unknown[]> = {};
  private timer = 0;

  constructor(
    private readonly lab: Lab,
    private readonly columns: readonly Column[],
    private readonly file: string,
    private readonly given: () => Given,
    changed: () => void,
  ) {
    const options = columns.map((column, k) => [String(k), column.name] as const);
    const place = (value: unknown, otherwise: number) => {
      const found = columns.findIndex((column) => column.name === String(value));
      return String(found >= 0 ? found : Math.min(otherwise, columns.length - 1));
    };
    const chosen = () => {
      this.draw();
      changed();
    };
    this.x = select<string>("Across", options, place(lab.state.px, 0), chosen);
    this.y = select<string>("Upwards", options, place(lab.state.py, 1), chosen);
    this.count = select<string>("Rows", COUNTS.map((count) => [count, Number(count).toLocaleString("en")] as const), "1000", () => undefined);
    this.asked = latest(
      (held: Given) => lab.transport.call<Sampled>("model.sample", { n: SHOWN, given: held, seed: 1 }),
      ({ points }) => {
        this.points = points;
        this.draw();
      },
      lab.say,
    );
    const download = button("Download as CSV", () => void this.download(download));
    this.element = h("div", {},
      h("h3", {}, "Pairs of columns"),
      h("div", { class: "controls" }, this.x.element, this.y.element),
      this.scatter.plot.element,
      h("p", { class: "note" }, `${shown(SHOWN, 0)} rows that the model draws, given the columns that are held above.`),
      h("div", { class: "controls" }, this.count.element, download),
    );
  }

  destroy(): void {
    window.clearTimeout(this.timer);
    this.asked.stop();
    this.scatter.plot.destroy();
  }

  redraw(): void {
    this.scatter.plot.redraw();
  }

  /** Draws rows anew, a moment after the last change. */
  refresh(): void {
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.asked.ask(this.given()), PAUSE);
  }

  keep(): Record<string, string> {
    return { px: this.column(this.x).name, py: this.column(this.y).name };
  }

  private column(control: Control<string>): Column {
    return this.columns[Number(control.value())];
  }

  private draw(): void {
    const [x, y] = [this.column(this.x), this.column(this.y)];
    this.scatter.show(x, y, this.points[x.name] ?? [], this.points[y.name] ?? []);
  }

  private async download(pressed: HTMLButtonElement): Promise<void> {
    pressed.disabled = true;
    try {
      const seed = Math.floor(2 ** 31 * Math.random());
      const { csv } = await this.lab.transport.call<Sampled>("model.sample", {
        n: Number(this.count.value()), given: this.given(), seed,
      });
      save(csv, `${this.file.replace(/\.[a-z]+$/i, "")}-samples.csv`);
    } catch (error) {
      this.lab.say(error);
    }
    pressed.disabled = false;
  }
}

/** Gives the user a text as a file. */
function save(text: string, name: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  window.setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
