// A training in Python as the page sees it: start, pause, go on, one step, anew; and its events.

import type { FlowJson, Point, Transport } from "../../protocol";

export interface TrainChoices {
  family: string;
  depth: number;
  univariate: string;
  hidden: number;
  learning_rate: number;
  seed: number;
  /** 0: as many as the machine makes. */
  steps_per_second: number;
}

/** What is learned: a named distribution, or points. */
export type TrainOn = { data: string } | { points: Point[] };

export interface Started {
  run: number;
  state: number;
  entropy: number | null;
  baselines: { kde: number | null; mixture: number | null };
}

export interface TrainEvent {
  run: number;
  step: number;
  seconds: number;
  loss: number | null;
  held_out: number | null;
  steps_per_second: number | null;
  flow: FlowJson;
  running: boolean;
  /** How many times the training was told something: an event with a smaller number is of before. */
  state: number;
}

export type Status = "none" | "starting" | "running" | "paused";

export interface Hears {
  status(status: Status): void;
  started(numbers: Started): void;
  event(event: TrainEvent): void;
  failed(error: unknown): void;
}

/** What every panel on one session knows: starts so far, and the newest run that was heard of. */
interface Known {
  starts: number;
  newest: number;
}

const sessions = new WeakMap<Transport, Known>();

export class TrainRun {
  status: Status = "none";
  private readonly known: Known;
  /** The first run whose events count. */
  private oldest: number;
  private asked = 0;
  private state = 0;
  private stepFirst = false;
  private readonly off: (() => void)[];

  constructor(private readonly transport: Transport, private readonly hears: Hears) {
    this.known = sessions.get(transport) ?? { starts: 0, newest: 0 };
    sessions.set(transport, this.known);
    this.oldest = this.known.newest + 1;
    this.off = [
      transport.on("closed", () => this.become("none")),
      transport.on<TrainEvent>("train", (event) => this.hear(event)),
      transport.on<{ message: string; run: number }>("train.failed", ({ message, run }) => {
        if (run < this.oldest) return;
        this.become("none");
        hears.failed(message);
      }),
    ];
  }

  /** Begins with other choices or data, perhaps for one step alone; what ran before ends. */
  async start(on: TrainOn, choices: TrainChoices, oneStep = false): Promise<void> {
    const [asked, start] = [(this.asked += 1), (this.known.starts += 1)];
    this.oldest = this.known.newest + 1;
    this.stepFirst = oneStep;
    this.become("starting");
    try {
      const started = await this.transport.call<Started>("train.start", { ...on, ...choices, paused: oneStep });
      if (asked === this.asked) {
        this.known.newest = Math.max(this.known.newest, started.run);
        this.state = started.state;
        this.hears.started(started);
      } else if (this.status === "none" && start === this.known.starts) this.pauseUnheard();
    } catch (error) {
      if (asked !== this.asked) return;
      this.become("none");
      this.hears.failed(error);
    }
  }

  pause(): Promise<void> {
    return this.tell("train.pause", "paused");
  }

  resume(): Promise<void> {
    return this.tell("train.resume", "running");
  }

  step(): Promise<void> {
    return this.tell("train.step", "paused");
  }

  /** Back to the weights of the start; events of what ran before no longer count. */
  reset(): Promise<void> {
    this.oldest = this.known.newest + 1;
    return this.tell("train.reset", "paused");
  }

  /** Pauses what runs; what is only starting is forgotten. */
  rest(): void {
    if (this.status === "running") void this.pause();
    else if (this.status === "starting") this.forget();
  }

  /** Forgets the training, whose data or choices are no longer those of the page. */
  forget(): void {
    if (this.status === "running" || this.status === "starting") this.pauseUnheard();
    this.asked += 1;
    this.oldest = this.known.newest + 1;
    this.become("none");
  }

  destroy(): void {
    for (const off of this.off) off();
    if (this.status === "running" || this.status === "starting") this.pauseUnheard();
    this.asked += 1;
    this.status = "none";
  }

  private async tell(call: string, then: Status): Promise<void> {
    const asked = this.asked;
    try {
      const { state } = await this.transport.call<{ state: number }>(call);
      if (asked !== this.asked) return;
      this.state = state;
      this.become(then);
    } catch (error) {
      if (asked === this.asked) this.hears.failed(error);
    }
  }

  /** Events of a training that was replaced are left out; one that nobody wants any more is paused. */
  private hear(event: TrainEvent): void {
    if (event.run < this.oldest) return;
    this.known.newest = Math.max(this.known.newest, event.run);
    if (this.status === "none") {
      this.oldest = event.run + 1;
      if (event.running) this.pauseUnheard();
      return;
    }
    this.hears.event(event);
    if (this.stepFirst) {
      this.stepFirst = false;
      void this.step();
    } else if (this.status === "starting" || event.state >= this.state)
      this.become(event.running ? "running" : "paused");
  }

  private pauseUnheard(): void {
    void this.transport.call("train.pause").catch(() => undefined);
  }

  private become(status: Status): void {
    if (status === this.status) return;
    this.status = status;
    this.hears.status(status);
  }
}
