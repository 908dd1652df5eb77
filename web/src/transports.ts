// The two ways to Python: a socket of the page, and the messages of a notebook widget.

import { LabError, type Transport } from "./protocol";

type Answer = { id: string; result?: unknown; error?: string } | { event: string; data: unknown };
type Waiting = { resolve(value: unknown): void; reject(error: Error): void };

/** What both ways share: numbered calls, their answers, and events. */
abstract class Calls implements Transport {
  private waiting = new Map<string, Waiting>();
  private handlers = new Map<string, Set<(data: never) => void>>();
  // All views of a widget hear all answers, so that each needs numbers of its own.
  private readonly prefix = Math.random().toString(36).slice(2, 10);
  private next = 1;

  call<T>(method: string, options: Record<string, unknown> = {}): Promise<T> {
    const id = `${this.prefix}-${this.next++}`;
    return new Promise<T>((resolve, reject) => {
      this.waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.post({ id, call: method, with: options });
    });
  }

  on<T>(event: string, handler: (data: T) => void): () => void {
    const handlers = this.handlers.get(event) ?? new Set();
    handlers.add(handler as (data: never) => void);
    this.handlers.set(event, handlers);
    return () => handlers.delete(handler as (data: never) => void);
  }

  abstract close(): void;
  protected abstract post(message: object): void;

  protected receive(answer: Answer): void {
    if ("event" in answer) {
      for (const handler of this.handlers.get(answer.event) ?? []) handler(answer.data as never);
      return;
    }
    const waiting = this.waiting.get(answer.id);
    this.waiting.delete(answer.id);
    if (answer.error !== undefined) waiting?.reject(new LabError(answer.error));
    else waiting?.resolve(answer.result);
  }

  protected fail(message: string): void {
    for (const waiting of this.waiting.values()) waiting.reject(new LabError(message));
    this.waiting.clear();
    for (const handler of this.handlers.get("closed") ?? []) handler(message as never);
  }
}

const GONE = "The connection to Flow Lab is lost. Reload this page; if that does not help, start `pushforward lab` again.";

export class SocketTransport extends Calls {
  private socket: WebSocket;
  private unsent: string[] = [];
  private gone = false;
  private why = GONE;

  constructor(url: string) {
    super();
    this.socket = new WebSocket(url);
    this.socket.addEventListener("open", () => {
      for (const text of this.unsent.splice(0)) this.socket.send(text);
    });
    this.socket.addEventListener("message", (event) => this.receive(JSON.parse(event.data as string) as Answer));
    this.socket.addEventListener("close", (event) => {
      if (event.reason) this.why = event.reason;
      this.gone = true;
      this.fail(this.why);
    });
  }

  close(): void {
    this.socket.close();
  }

  protected post(message: object): void {
    const text = JSON.stringify(message);
    if (this.gone) this.fail(this.why);
    else if (this.socket.readyState === WebSocket.OPEN) this.socket.send(text);
    else this.unsent.push(text);
  }
}

/** What a widget of a notebook gives its front end (anywidget). */
export interface WidgetModel {
  send(content: unknown): void;
  on(event: "msg:custom", handler: (content: Answer) => void): void;
  off(event: "msg:custom", handler: (content: Answer) => void): void;
}

export class WidgetTransport extends Calls {
  private handler = (answer: Answer) => this.receive(answer);

  constructor(private model: WidgetModel) {
    super();
    model.on("msg:custom", this.handler);
  }

  close(): void {
    this.model.off("msg:custom", this.handler);
  }

  protected post(message: object): void {
    this.model.send(message);
  }
}
