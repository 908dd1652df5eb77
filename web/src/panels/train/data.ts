// What a flow is trained on: a named distribution, points that the user draws, or two columns of a table.

import { brush, spray } from "../../page/brush";
import type { Lab } from "../../panel";
import type { Plot } from "../../drawing/plot";
import type { Point } from "../../protocol";
import { around } from "./view";
import type { TrainOn } from "./run";
import { button, h, refill, select, type Control } from "../../page/ui";
import { upload, type UploadedFile } from "../../page/upload";

const DRAWN = "drawn";
const TABLE = "table";
const FEWEST = 20;
const MOST_DRAWN = 4000;
const SHOWN = 2000;
const BOARD: [Point, Point] = [[-4, 4], [-4, 4]];

export interface Named {
  name: string;
  title: string;
  entropy: number | null;
}

/** The names before Python has said which it has. */
const KNOWN: Named[] = [
  ["moons", "Two moons"], ["two_spirals", "Two spirals"], ["checkerboard", "Checkerboard"], ["rings", "Rings"],
  ["pinwheel", "Pinwheel"], ["eight_gaussians", "Eight Gaussians"], ["banana", "Banana"],
].map(([name, title]) => ({ name, title, entropy: null }));

export class TrainData {
  readonly element: HTMLElement;
  points: Point[] = [];
  file = "";
  private asked = 0;
  private columns: string[] = [];
  private readonly source: Control<string>;
  private readonly x: Control<string>;
  private readonly y: Control<string>;
  private readonly drawing: HTMLElement;
  private readonly table: HTMLElement;
  private readonly wanted: [string, string];
  private readonly said = h("span", { class: "note", role: "status" });

  constructor(
    private readonly lab: Lab,
    private readonly plot: Plot,
    /** Called when other points are there, with their ranges; null: the same. */
    private readonly changed: (ranges: [Point, Point] | null) => void,
  ) {
    const { d, cx, cy } = lab.state;
    this.wanted = [String(cx ?? ""), String(cy ?? "")];
    const options = this.options(KNOWN);
    const first = typeof d === "string" && /^[a-z_]{1,40}$/.test(d) ? d : "moons";
    this.source = select<string>("Data", options, first, () => this.choose());
    if (!options.some(([name]) => name === first)) this.source.set("moons");
    this.x = select<string>("Column x₁", [], "", () => void this.readColumns());
    this.y = select<string>("Column x₂", [], "", () => void this.readColumns());
    this.drawing = h("div", { class: "controls" },
      button("Add a cluster", () => this.addCluster()),
      button("Clear", () => this.replace([])),
      h("span", { class: "note" }, "Draw on the picture with the mouse or a finger."),
    );
    this.table = h("div", { class: "controls" },
      upload("Table (CSV)", (file) => void this.open(file), lab.say), this.x.element, this.y.element, this.said);
    this.element = h("div", {}, h("div", { class: "controls" }, this.source.element), this.drawing, this.table);
    brush(plot, () => this.source.value() === DRAWN, (points) => this.spray(points), () => this.changed(null));
    this.show();
  }

  /** The data that Python has; called once it has said so. */
  offer(named: readonly Named[]): void {
    refill(this.source, this.options(named));
    this.choose();
  }

  /** What to train on; a sentence where there is not enough. */
  trainOn(): TrainOn | string {
    const name = this.source.value();
    if (name !== DRAWN && name !== TABLE) return { data: name };
    if (this.points.length >= FEWEST) return { points: this.points };
    if (name === TABLE) return "Choose a table with at least 20 rows of two columns of numbers first.";
    return "Draw at least 20 points on the picture first, or add a cluster.";
  }

  /** A few words where there is nothing to see yet. */
  hint(): string {
    if (this.points.length) return "";
    return { [DRAWN]: "Draw here", [TABLE]: "Choose a table" }[this.source.value()] ?? "";
  }

  name(): string {
    return this.source.value();
  }

  chosenColumns(): [string, string] {
    return [this.x.value(), this.y.value()];
  }

  keep(): Record<string, string | null> {
    const table = this.source.value() === TABLE;
    return { d: this.source.value(), cx: table ? this.x.value() || null : null, cy: table ? this.y.value() || null : null };
  }

  private options(named: readonly Named[]): (readonly [string, string])[] {
    return [
      ...named.map(({ name, title }) => [name, title] as const),
      [DRAWN, "Drawn by you"], [TABLE, "Two columns of a table"],
    ];
  }

  private choose(): void {
    this.show();
    this.asked += 1;
    const name = this.source.value();
    if (name === DRAWN) this.replace([]);
    else if (name === TABLE) {
      this.replace([]);
      if (this.columns.length) void this.readColumns();
    } else void this.sample(name);
  }

  private show(): void {
    const name = this.source.value();
    this.drawing.hidden = name !== DRAWN;
    this.drawing.style.display = name === DRAWN ? "" : "none";
    this.table.hidden = name !== TABLE;
    this.table.style.display = name === TABLE ? "" : "none";
    this.plot.canvas.style.touchAction = name === DRAWN ? "none" : "";
    this.plot.canvas.style.cursor = name === DRAWN ? "crosshair" : "";
  }

  private async sample(name: string): Promise<void> {
    await this.receive(
      () => this.lab.transport.call<{ points: Point[] }>("data.sample", { name, n: SHOWN, seed: 1 }),
      ({ points }) => this.replace(points, around(points, true)),
    );
  }

  private async open(file: UploadedFile): Promise<void> {
    await this.receive(
      () => this.lab.transport.call<{ columns: string[] }>("table.open", { ...file }),
      ({ columns }) => {
        this.file = file.name;
        this.columns = columns;
        const options = columns.map((name) => [name, name] as const);
        refill(this.x, options);
        refill(this.y, options);
        this.x.set(columns.includes(this.wanted[0]) ? this.wanted[0] : columns[0]);
        this.y.set(columns.includes(this.wanted[1]) ? this.wanted[1] : columns[1]);
        void this.readColumns();
      },
    );
  }

  private async readColumns(): Promise<void> {
    const [x, y] = this.chosenColumns();
    if (!x || !y) return;
    if (x === y) {
      this.lab.say("Choose two different columns: two equal ones lie on a line, which has no density.");
      this.replace([]);
      return;
    }
    await this.receive(
      () => this.lab.transport.call<{ points: Point[]; left_out: number }>("table.columns", { x, y }),
      ({ points, left_out: leftOut }) => {
        this.replace(points, around(points, false), [x, y]);
        const rows = `${leftOut.toLocaleString("en")} ${leftOut === 1 ? "row" : "rows"}`;
        this.said.textContent = leftOut ? `${rows} without a usable number in both columns left out.` : "";
      },
    );
  }

  /** Asks Python; of several questions the last one counts. */
  private async receive<T>(ask: () => Promise<T>, take: (answer: T) => void): Promise<void> {
    const asked = (this.asked += 1);
    try {
      const answer = await ask();
      if (asked !== this.asked) return;
      this.lab.say("");
      take(answer);
    } catch (error) {
      if (asked === this.asked) this.lab.say(error);
    }
  }

  private replace(points: Point[], ranges = BOARD, titles: [string, string] = ["x₁", "x₂"]): void {
    this.points = points;
    this.plot.titles(...titles);
    this.changed(ranges);
  }

  private spray(points: Point[]): void {
    if (this.points.length + points.length > MOST_DRAWN) return;
    this.points = [...this.points, ...points];
    this.changed(null);
  }

  /** For those who do not draw: a hundred points around a random place. */
  private addCluster(): void {
    const place = (): number => -2.8 + 5.6 * Math.random();
    this.spray(spray(this.plot, [place(), place()], 100, 0.05));
  }

  destroy(): void {
    this.asked += 1;
  }
}
