// The frame around the panels: a tab for each, one of them mounted at a time, theme, and sentences for the user.

import type { Lab, Mounted, Panel, State } from "./panel";
import type { Transport } from "./protocol";
import type { Address } from "./address";
import { button, h } from "./page/ui";

interface Surroundings {
  transport: Transport;
  address: Address;
  written(panel: string, state: State): void;
}

type Theme = "auto" | "light" | "dark";

const NEXT: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" };
const STORED = "flow-lab-theme";

export class Shell {
  private states = new Map<string, State>();
  private tabs = new Map<string, HTMLButtonElement>();
  private themeHandlers = new Set<() => void>();
  private current = "";
  /** The panel that is shown, and those that rest. */
  private mounted = new Map<string, { inside: HTMLElement; panel: Mounted }>();
  private writing = 0;
  private place = h("div", { class: "panel", role: "tabpanel", id: "lab-panel", tabindex: "-1" });
  private message = h("p", { class: "message", role: "status", "aria-live": "polite" });
  private motion = window.matchMedia("(prefers-reduced-motion: reduce)");
  private dark = window.matchMedia("(prefers-color-scheme: dark)");
  private theme: Theme = "auto";
  private themeButton: HTMLButtonElement;
  private readonly recolour = () => {
    this.root.dataset.theme = this.theme === "auto" ? (this.dark.matches ? "dark" : "light") : this.theme;
    this.themeHandlers.forEach((handler) => handler());
  };
  private offClosed: () => void;

  constructor(
    private root: HTMLElement,
    private panels: readonly Panel[],
    first: string,
    private around: Surroundings,
  ) {
    const bar = h("div", { class: "tabs", role: "tablist", "aria-label": "Panels", keydown: (event: KeyboardEvent) => this.arrow(event) });
    for (const panel of panels) {
      const tab = h("button", {
        type: "button", role: "tab", id: `tab-${panel.id}`, "aria-controls": "lab-panel", click: () => this.open(panel.id),
      }, panel.title);
      this.tabs.set(panel.id, tab);
      bar.append(tab);
    }
    this.themeButton = button("", () => this.setTheme(NEXT[this.theme]));
    this.themeButton.classList.add("theme");
    root.classList.add("flow-lab");
    root.append(
      h("header", {}, h("h1", {}, "Flow Lab"), bar, this.themeButton),
      this.message,
      h("main", {}, this.place),
    );
    this.setTheme(readTheme());
    this.dark.addEventListener("change", this.recolour);
    this.offClosed = around.transport.on<string>("closed", (text) => this.say(text));
    const wanted = around.address.panel ?? first;
    this.states.set(wanted, around.address.state);
    this.open(this.tabs.has(wanted) ? wanted : first);
  }

  destroy(): void {
    window.clearTimeout(this.writing);
    for (const id of [...this.mounted.keys()]) this.end(id);
    this.offClosed();
    this.dark.removeEventListener("change", this.recolour);
    this.around.transport.close();
    this.root.replaceChildren();
  }

  /** Shows what an address says, such as one that the user has typed or gone back to. */
  show(address: Address): void {
    if (address.panel === null || !this.tabs.has(address.panel)) return;
    this.states.set(address.panel, address.state);
    this.leave();
    this.end(address.panel);
    this.open(address.panel);
  }

  private open(id: string): void {
    if (id === this.current) return;
    const panel = this.panels.find((each) => each.id === id) as Panel;
    this.leave();
    this.say("");
    this.current = id;
    for (const [name, tab] of this.tabs) {
      tab.setAttribute("aria-selected", String(name === id));
      tab.tabIndex = name === id ? 0 : -1;
    }
    this.tabs.get(id)?.scrollIntoView?.({ block: "nearest", inline: "nearest" });
    this.place.setAttribute("aria-labelledby", `tab-${id}`);
    const inside = this.mounted.get(id)?.inside ?? h("div", {});
    this.place.replaceChildren(h("h2", {}, panel.title), h("p", { class: "lead" }, panel.lead), inside);
    const state = this.states.get(id) ?? {};
    this.write();
    if (!this.mounted.has(id)) this.mounted.set(id, { inside, panel: panel.mount(inside, this.lab(id, state)) });
  }

  /** The panel that is shown rests, or ends. */
  private leave(): void {
    const shown = this.mounted.get(this.current)?.panel;
    if (shown?.rest) shown.rest();
    else this.end(this.current);
    this.current = "";
  }

  private end(id: string): void {
    this.mounted.get(id)?.panel.destroy();
    this.mounted.delete(id);
  }

  private write(): void {
    window.clearTimeout(this.writing);
    this.around.written(this.current, this.states.get(this.current) ?? {});
  }

  private lab(id: string, state: State): Lab {
    return {
      transport: this.around.transport,
      state,
      keep: (changed) => {
        this.states.set(id, changed);
        // Browsers limit how often an address may change.
        window.clearTimeout(this.writing);
        this.writing = window.setTimeout(() => this.write(), 300);
      },
      still: () => this.motion.matches,
      onTheme: (handler) => {
        this.themeHandlers.add(handler);
        return () => this.themeHandlers.delete(handler);
      },
      say: (message) => {
        if (this.current === id || !this.current) this.say(message);
      },
    };
  }

  private say(message: unknown): void {
    const text = message instanceof Error ? message.message : String(message ?? "");
    this.message.textContent = text;
    this.message.classList.toggle("there", text !== "");
  }

  /** Arrow keys, Home and End go from tab to tab. */
  private arrow(event: KeyboardEvent): void {
    const names = [...this.tabs.keys()];
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const at = names.indexOf(this.current);
    const to = step ? (at + step + names.length) % names.length : { Home: 0, End: names.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.open(names[to]);
    this.tabs.get(names[to])?.focus();
  }

  private setTheme(theme: Theme): void {
    this.theme = theme;
    this.themeButton.textContent = { auto: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" }[theme];
    try {
      localStorage.setItem(STORED, theme);
    } catch {
      // A page without storage forgets the theme.
    }
    this.recolour();
  }
}

function readTheme(): Theme {
  try {
    const theme = localStorage.getItem(STORED);
    return theme === "light" || theme === "dark" ? theme : "auto";
  } catch {
    return "auto";
  }
}
