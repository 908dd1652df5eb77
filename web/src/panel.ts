// What a panel is, and what it may use.

import type { Transport } from "./protocol";

export type State = Record<string, string | number | boolean | null>;

export interface Lab {
  transport: Transport;
  /** What the URL says about this panel. */
  state: State;
  /** Keep the state of this panel in the URL; call it when the user has changed something. */
  keep(state: State): void;
  /** Whether motion is to be avoided. */
  still(): boolean;
  /** Says when colours have changed (light and dark); returns what ends that. */
  onTheme(handler: () => void): () => void;
  /** Shows a sentence to the user, or an Error; an empty one takes it away. */
  say(message: unknown): void;
}

export interface Mounted {
  /** The user goes to another panel and may come back: what runs pauses, and all is kept. Without it the panel is destroyed. */
  rest?(): void;
  /** Ends everything that the panel has begun: frames, trainings, listeners outside its root. */
  destroy(): void;
}

export interface Panel {
  id: string;
  title: string;
  /** One sentence below the title. */
  lead: string;
  mount(root: HTMLElement, lab: Lab): Mounted;
}
