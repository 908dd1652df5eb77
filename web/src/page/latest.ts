// Questions that follow each other quickly: at most one is under way, and of those that come meanwhile the last one wins.

export interface Latest<Q> {
  ask(question: Q): void;
  /** Answers that come from now on are not wanted. */
  stop(): void;
}

export function latest<Q, A>(
  answer: (question: Q) => Promise<A>,
  got: (answer: A, question: Q, milliseconds: number) => void,
  failed: (error: unknown) => void,
): Latest<Q> {
  let next: { question: Q } | null = null;
  let busy = false;
  let stopped = false;

  async function run(): Promise<void> {
    busy = true;
    while (next && !stopped) {
      const { question } = next;
      next = null;
      const began = performance.now();
      try {
        const result = await answer(question);
        if (!stopped) got(result, question, performance.now() - began);
      } catch (error) {
        if (!stopped) failed(error);
      }
    }
    busy = false;
  }

  return {
    ask(question) {
      next = { question };
      if (!busy) void run();
    },
    stop() {
      stopped = true;
    },
  };
}
