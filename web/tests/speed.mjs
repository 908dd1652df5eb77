// What `benchmarks/lab.py` measures in Chromium: first paint, pictures and steps a second, answers of a model, as JSON.

import { launch, numberOf, open } from "./support.mjs";

const [family, univariate, seconds] = [process.argv[2], process.argv[3], Number(process.argv[4])];
const fact = (name) => `[data-fact="${name}"]`;
const browser = await launch();
const first = await open(browser, "change");
const paint = await first.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? null);
await first.context().close();

const page = await open(browser, "train", { query: `f=${family}&u=${univariate}` });
await page.locator("button.main").click();
await page.waitForFunction(() => Number(document.querySelector('[data-fact="step"]').dataset.value) > 5, null, { timeout: 60_000 });
const start = [await numberOf(page, fact("step")), await numberOf(page, fact("seconds"))];
const pictures = [];
for (let k = 0; k < seconds; k++) {
  await page.waitForTimeout(1_000);
  pictures.push(await numberOf(page, fact("updates")));
}
const end = [await numberOf(page, fact("step")), await numberOf(page, fact("seconds"))];
await page.context().close();

const model = await open(browser, "model");
const answers = [];
if (await model.waitForSelector('.multiple input[type="range"]', { timeout: 20_000 }).catch(() => null)) {
  const slider = model.locator('.multiple input[type="range"]').first();
  for (let k = 0; k < 12; k++) {
    await slider.press("ArrowRight");
    await model.waitForTimeout(400);
    answers.push(await numberOf(model, fact("milliseconds")));
  }
}
await browser.close();
const middle = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? null;
console.log(JSON.stringify({
  paint, pictures: middle(pictures), steps: end[0] - start[0], elapsed: seconds, answer: middle(answers.slice(2)),
}));
