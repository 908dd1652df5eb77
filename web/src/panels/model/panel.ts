// Your model: a model file of a table, its columns given others, samples, unusual rows, calibration.

import { ColumnCard } from "./column_card";
import { literal, valuesOf, type Column, type Given, type Marginal, type Value } from "./columns";
import { facts } from "../../page/facts";
import { formula } from "../../page/formula";
import { latest, type Latest } from "../../page/latest";
import { ModelChecks } from "./checks";
import { ModelSamples } from "./samples";
import type { Lab, Mounted, Panel } from "../../panel";
import { button, h, python, select, shown } from "../../page/ui";

interface Opened {
  columns: Column[];
  description: string;
  rows: number | null;
  conditions_on_any: boolean;
  /** What reads the file in Python, such as FlowDensity.load. */
  loader: string;
  /** The file, as the user names it. */
  path: string;
}

const LONGEST_STATE = 1500;
/** How descriptions of mixed-type models begin, which know the distribution of each column. */
const MIXED = "mixed";

class Model implements Mounted {
  private gone = false;
  private asked = 0;
  private name = "";
  private opened: Opened | null = null;
  private cards: ColumnCard[] = [];
  private samples: ModelSamples | null = null;
  private checks: ModelChecks | null = null;
  private question: Latest<Given> | null = null;
  private readonly place = h("div", { "data-part": "model" });
  private readonly chooser = h("div", { class: "controls" });
  private readonly numbers = facts([
    ["given", "Columns given"], ["milliseconds", "Answer in, ms"], ["columns", "Columns"], ["rows", "Rows trained on"],
  ]);
  private readonly off: () => void;

  constructor(root: HTMLElement, private readonly lab: Lab) {
    root.append(this.chooser, this.place);
    this.off = lab.onTheme(() => this.redraw());
    void this.list();
  }

  destroy(): void {
    this.gone = true;
    this.off();
    this.close();
  }

  private async list(): Promise<void> {
    try {
      const { models } = await this.lab.transport.call<{ models: string[] }>("info");
      if (this.gone) return;
      if (!models.length) {
        this.place.replaceChildren(...noModels());
        return;
      }
      const wanted = String(this.lab.state.m ?? "");
      const first = models.includes(wanted) ? wanted : models[0];
      const choice = select<string>("Model file", models.map((name) => [name, name] as const), first, (name) => {
        void this.open(name, {});
      });
      this.chooser.replaceChildren(choice.element);
      await this.open(first, first === wanted ? givenOf(this.lab.state.g) : {});
    } catch (error) {
      if (!this.gone) this.lab.say(error);
    }
  }

  private async open(name: string, given: Given): Promise<void> {
    const asked = (this.asked += 1);
    this.close();
    this.place.replaceChildren(h("p", { class: "note", role: "status" }, `Opening ${name}…`));
    try {
      const opened = await this.lab.transport.call<Opened>("model.open", { name });
      if (this.gone || asked !== this.asked) return;
      this.lab.say("");
      this.show(name, opened, given);
    } catch (error) {
      if (this.gone || asked !== this.asked) return;
      this.place.replaceChildren();
      this.lab.say(error);
    }
  }

  private show(name: string, opened: Opened, given: Given): void {
    const { columns, description, rows, conditions_on_any: takes } = opened;
    [this.name, this.opened] = [name, opened];
    this.question = latest(
      (held: Given) => this.lab.transport.call<{ columns: Marginal[] }>("model.marginals", { given: held }),
      (answer, held, milliseconds) => this.answered(answer.columns, held, milliseconds),
      (error) => this.lab.say(error),
    );
    this.cards = columns.map((column) => new ColumnCard(column, takes || column.required ? heldAt(column, given[column.name]) : null, () => this.changed()));
    const fixed = !takes && !this.isConditional();
    if (fixed) for (const card of this.cards) card.lock();
    this.samples = new ModelSamples(this.lab, columns, name, () => this.given(), () => this.keep());
    this.checks = new ModelChecks(this.lab);
    this.place.replaceChildren(
      h("p", { class: "note" }, description),
      h("h3", {}, "Each column, given those that you hold"),
      h("div", { class: "formula", tabindex: "0", role: "group", "aria-label": "Formula" }, formula("q(x_j \\mid x_{\\text{given}}) = \\frac{q(x_j, x_{\\text{given}})}{q(x_{\\text{given}})}")),
      h("p", { class: "note" },
        fixed
          ? "This is a model of all columns together, which takes no values of them. Fit with --model mixed for one that can be conditioned on any columns."
          : "Move a slider or choose a value: the column is then given, and the others show their distribution given it (orange), before the one given nothing (grey)."),
      h("div", { class: "controls" }, button("Give nothing", () => this.free())),
      this.numbers.element,
      h("div", { class: "multiples" }, ...this.cards.map((card) => card.element)),
      this.samples.element,
      this.checks.element,
      python(() => this.lines()),
    );
    this.numbers.set("columns", columns.length, String(columns.length));
    this.numbers.set("rows", rows ?? null, rows === null || rows === undefined ? "–" : rows.toLocaleString("en"));
    // The answer given nothing stays in the background; a model of columns given others has none.
    if (!this.isConditional()) this.question.ask({});
    if (Object.keys(this.given()).length) this.question.ask(this.given());
    this.samples.refresh();
    this.keep();
  }

  private close(): void {
    this.question?.stop();
    this.question = null;
    for (const card of this.cards) card.destroy();
    this.samples?.destroy();
    this.checks?.destroy();
    [this.cards, this.samples, this.checks] = [[], null, null];
  }

  private given(): Given {
    const given: Given = {};
    for (const card of this.cards) {
      const value = card.given();
      if (value !== null) given[card.column.name] = value;
    }
    return given;
  }

  private changed(): void {
    this.question?.ask(this.given());
    this.samples?.refresh();
    this.keep();
  }

  private free(): void {
    for (const card of this.cards) card.free();
    this.changed();
  }

  private answered(marginals: readonly Marginal[], held: Given, milliseconds: number): void {
    const byName = new Map(marginals.map((marginal) => [marginal.name, marginal]));
    const count = Object.keys(held).length;
    for (const card of this.cards) {
      const marginal = byName.get(card.column.name) ?? null;
      if (marginal && (count === 0 || (this.isConditional() && !card.hasUsual()))) card.setUsual(marginal);
      card.setNow(marginal);
    }
    this.numbers.set("given", count, String(count));
    this.numbers.set("milliseconds", milliseconds, shown(milliseconds, 0));
    this.lab.say("");
  }

  /** Whether the model is one of columns given others, so that nothing is known given nothing. */
  private isConditional(): boolean {
    return this.cards.some((card) => card.column.required);
  }

  private redraw(): void {
    for (const card of this.cards) card.redraw();
    this.samples?.redraw();
    this.checks?.redraw();
  }

  private keep(): void {
    const given = JSON.stringify(this.given());
    this.lab.keep({
      m: this.name, g: given === "{}" || given.length > LONGEST_STATE ? null : given, ...this.samples?.keep(),
    });
  }

  private lines(): string {
    const held = this.cards.filter((card) => card.given() !== null);
    const free = this.cards.find((card) => card.given() === null);
    const given = held.map((card) => `${JSON.stringify(card.column.name)}: ${literal(card.column, card.given() as Value)}`);
    return modelLines(this.opened as Opened, given, free?.column ?? null);
  }
}

/** A value of the URL, if the column can be held at it. */
function heldAt(column: Column, value: Value | undefined): Value | null {
  if (value === undefined) return null;
  const values = valuesOf(column);
  if (values) return values.includes(value) ? value : null;
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/** Lines that open the file and ask it the same. */
function modelLines({ loader, path, description }: Opened, given: readonly string[], free: Column | null): string {
  const detector = loader.startsWith("FlowAnomaly");
  const imported = loader.startsWith("pushforward") ? "import pushforward" : `from pushforward.estimators import ${loader.split(".")[0]}`;
  const start = [imported, "", `model = ${loader}(${JSON.stringify(path)})`];
  if (loader.startsWith("pushforward")) return [...start, "print(model.sample(5))", ""].join("\n");
  if (given.some((each) => each.includes("datetime."))) start.unshift("from datetime import datetime", "");
  if (detector) return [...start, "print(model.schema_.describe())", ""].join("\n");
  if (!given.length) return [...start, "print(model.sample(5))", ""].join("\n");
  const asked = free && description.startsWith(MIXED)
    ? [`print(conditional.marginal(${JSON.stringify(free.name)}).${valuesOf(free) ? "probabilities()" : "interval(0.9)"})`]
    : [];
  return [...start, `conditional = model.given({${given.join(", ")}})`, ...asked, "print(conditional.sample(5, whole=True))", ""].join("\n");
}

function givenOf(state: unknown): Given {
  try {
    const given: unknown = JSON.parse(String(state ?? "{}"));
    return typeof given === "object" && given !== null && !Array.isArray(given) ? (given as Given) : {};
  } catch {
    return {};
  }
}

function noModels(): HTMLElement[] {
  const lines = "pushforward fit people.csv --out models/people.safetensors\npushforward lab models";
  return [
    h("p", {}, "No model file is here yet. Fit a model to a table, and start Flow Lab with the folder of its file:"),
    h("pre", { tabindex: "0" }, h("code", {}, lines)),
    h("p", { class: "note" }, "In a notebook: pf.lab.widget(folder=\"models\")."),
  ];
}

export const modelPanel: Panel = {
  id: "model",
  title: "Your model",
  lead: "A model of a table knows the distribution of every column, given any others. Hold some of them and see what that says about the rest.",
  mount: (root, lab) => new Model(root, lab),
};
