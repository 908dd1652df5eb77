// The panels in a real browser: what is dragged, moved and typed, and the numbers that answer.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { after, before, test } from "node:test";

import { clean, launch, near, numberOf, open } from "./support.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

const fact = (name) => `[data-fact="${name}"]`;

/** Waits until a number is what a function says, or fails with the last one. */
async function until(page, selector, holds, milliseconds = 15_000) {
  const end = Date.now() + milliseconds;
  let value;
  do {
    value = await page.getAttribute(selector, "data-value").catch(() => null);
    if (value !== null && value !== "" && holds(Number.isNaN(Number(value)) ? value : Number(value))) return Number(value);
    await page.waitForTimeout(50);
  } while (Date.now() < end);
  assert.fail(`${selector} stayed at ${value}`);
}

async function drag(page, selector, dx, dy) {
  const box = await page.locator(selector).boundingBox();
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  await page.mouse.move(x, y);
  await page.mouse.down();
  await page.mouse.move(x + dx / 2, y + dy / 2, { steps: 4 });
  await page.mouse.move(x + dx, y + dy, { steps: 4 });
  await page.mouse.up();
}

test("change of variables: the naive integral is that of a quadrature, and areas stay equal", async () => {
  const page = await open(browser, "change", { motion: "reduce" });
  near(await numberOf(page, fact("naive")), 1.650123, 1e-3, "C");
  near(await numberOf(page, fact("integral")), 1, 1e-4, "integral of q");
  const areas = async (name) => page.locator(`td[data-area="${name}"]`).evaluateAll((all) => all.map((a) => Number(a.dataset.value)));
  const same = async () => {
    const [p, q] = [await areas("p"), await areas("q")];
    assert.ok(p.length >= 3);
    p.forEach((area, k) => near(q[k], area, 1e-6, "area"));
  };
  await same();
  await drag(page, ".knob >> nth=3", 0, -40);
  await same();
  near(await numberOf(page, fact("integral")), 1, 1e-4, "integral of q after dragging");
  await clean(page);
  const again = await open(browser, "change", { motion: "reduce", query: "m=identity" });
  near(await numberOf(again, fact("naive")), 1, 1e-3, "C of the identity");
  await again.locator(".knob >> nth=3").focus();
  await again.keyboard.press("PageUp");
  near(await numberOf(again, fact("naive")), 0.995585, 1e-3, "C after a key");
  await again.waitForURL(/k=/);
});

test("push-forward: the point is dragged and x = T(z) is read back", async () => {
  const page = await open(browser, "push-forward", { motion: "reduce" });
  const squash = ([a, b]) => [a / (1 + Math.hypot(a, b)), b / (1 + Math.hypot(a, b))];
  for (const [dx, dy] of [[0, 0], [60, -80], [-120, 40]]) {
    await drag(page, 'button.grip[aria-label^="Point z"]', dx, dy);
    const [z, x] = [await numberOf(page, fact("z")), await numberOf(page, fact("x"))];
    squash(z).forEach((value, k) => near(x[k], value, 1e-3, "x"));
    near(await numberOf(page, fact("ladj")), -3 * Math.log(1 + Math.hypot(...z)), 1e-3, "ladj");
    const [p, q] = [await numberOf(page, fact("log_prob_z")), await numberOf(page, fact("log_prob"))];
    near(q, p - (await numberOf(page, fact("ladj"))), 1e-9, "log q");
  }
  near(await numberOf(page, fact("cell_z")), await numberOf(page, fact("cell_x")), 0.01, "area times density");
  await page.getByRole("button", { name: "Compare with Python" }).click();
  await until(page, fact("compared"), (apart) => apart < 1e-5);
  await clean(page);
});

test("push-forward: layers are stepped, and all presets are those of the library", async () => {
  const page = await open(browser, "push-forward", { motion: "reduce" });
  const presets = page.locator(".control:has-text('Map') select, .control select").first();
  await page.waitForFunction(() => document.querySelectorAll(".panel select option").length > 4);
  const names = await presets.locator("option").evaluateAll((all) => all.map((option) => option.value));
  assert.ok(names.length >= 5, String(names));
  for (const name of names.filter((each) => each !== "trained")) {
    await presets.selectOption(name);
    const layers = page.locator("input[type=range]").first();
    const top = Number(await layers.getAttribute("max"));
    await layers.fill("0");
    // No layer moves nothing.
    await page.waitForFunction(() => {
      const [z, x] = ["z", "x"].map((key) => document.querySelector(`[data-fact="${key}"]`).dataset.value.split(",").map(Number));
      return z.every((value, k) => Math.abs(value - x[k]) < 1e-9);
    });
    await layers.fill(String(top - 0.5));
    assert.ok(Number.isFinite(await numberOf(page, fact("log_prob"))), name);
    await layers.fill(String(top));
  }
  await clean(page);
});

test("triangular maps: two determinants, two ways of inverting, and the chain rule", async () => {
  const page = await open(browser, "triangular", { motion: "reduce", query: "d=5&p=bumps" });
  near(await numberOf(page, fact("diagonal")), await numberOf(page, fact("elimination")), 1e-9, "log-determinant");
  near(await numberOf(page, fact("product")), 0.00911988, 1e-6, "chain rule");
  near(await numberOf(page, fact("joint")), await numberOf(page, fact("product")), 1e-9, "joint density");
  for (let k = 0; k < 5; k++) await page.getByRole("button", { name: "One step" }).click();
  assert.equal(await numberOf(page, fact("incremental")), 5);
  assert.equal(await numberOf(page, fact("naive")), 25);
  await page.locator("input[type=range]").nth(1).press("ArrowRight");
  near(await numberOf(page, fact("diagonal")), await numberOf(page, fact("elimination")), 1e-9, "log-determinant");
  await clean(page);
});

test("break it: integrals and likelihoods go wrong as they should", async () => {
  const expected = {
    "t=scale&as=1": { integral: 1, "integral-wrong": 10, nll: 3.234173, "nll-wrong": 0.931588 },
    "t=fold": { solutions: 3, "integral-wrong": 0.164865, integral: 1, nll: 0.445949 },
    "t=box": { integral: 0.866386, outside: 71 },
    "t=order": { integral: 1, nll: 32.370297, "nll-right": 2.186223 },
  };
  for (const [query, numbers] of Object.entries(expected)) {
    const page = await open(browser, "broken", { motion: "reduce", query });
    for (const [name, value] of Object.entries(numbers)) near(await numberOf(page, fact(name)), value, 1e-3, `${query} ${name}`);
    await clean(page);
    await page.context().close();
  }
});

test("train live: ten seconds of training lower the held-out negative log-likelihood", async () => {
  const page = await open(browser, "train");
  await page.locator("button.main").click();
  await until(page, fact("held_out"), (value) => Number.isFinite(value));
  const first = await numberOf(page, fact("held_out"));
  await page.waitForTimeout(10_000);
  const later = await numberOf(page, fact("held_out"));
  assert.ok(later < first - 0.1, `${first} to ${later}`);
  const updates = await numberOf(page, fact("updates"));
  console.log(`# pictures a second: ${updates}, steps a second: ${await numberOf(page, fact("steps_per_second"))}`);
  assert.ok(updates > 0, `${updates} pictures a second`); // how many is for benchmarks/lab.py
  await page.locator("button.main").click();
  await until(page, fact("status"), (value) => value === "paused");
  await page.waitForTimeout(500); // the last event may come after the pause
  const step = await numberOf(page, fact("step"));
  await page.getByRole("button", { name: "Step", exact: true }).click();
  await until(page, fact("step"), (value) => value === step + 1);
  await clean(page);
  await page.locator("#tab-push-forward").click();
  await page.waitForFunction(() => [...document.querySelectorAll(".panel option")].some((o) => o.value === "trained"));
  await page.locator("#tab-train").click();
  assert.equal(await numberOf(page, fact("step")), step + 1);
  await page.locator("button.main").click(); // it goes on where it was, and pauses when another panel is opened
  const more = await until(page, fact("step"), (value) => value > step + 1);
  await page.locator("#tab-change").click();
  await page.waitForTimeout(500);
  await page.locator("#tab-train").click();
  assert.equal(await page.getAttribute(fact("status"), "data-value"), "paused");
  assert.ok((await numberOf(page, fact("step"))) >= more);
  await clean(page);
});

const CSV = (rows) => `a,b,word\n${Array.from({ length: rows }, (_, k) => `${Math.sin(k)},${Math.cos(3 * k)},w`).join("\n")}\n`;

test("train live: the true density, and steps that one can follow", async () => {
  const page = await open(browser, "train", { query: "w=10" });
  const green = () => page.evaluate(() => {
    const canvas = document.querySelector(".panel canvas");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let k = 3; k < data.length; k += 4) count += data[k] > 40;
    return count;
  });
  await page.waitForTimeout(1_000);
  const without = await green();
  await page.getByLabel("True density p (green)").check();
  const end = Date.now() + 15_000;
  while ((await green()) < 1.3 * without && Date.now() < end) await page.waitForTimeout(100);
  assert.ok((await green()) >= 1.3 * without, "the true density is drawn");
  await page.locator("button.main").click();
  const first = await until(page, fact("step"), (step) => step >= 3);
  await page.waitForTimeout(2_000);
  const more = (await numberOf(page, fact("step"))) - first;
  assert.ok(more >= 5 && more <= 30, `${more} steps in two seconds at ten a second`);
  await clean(page);
});

test("each panel's lines of Python are copied", async () => {
  const folder = process.env.FLOW_LAB_PYTHON;
  const queries = {
    change: ["", "m=identity"], "push-forward": ["", "p=planar"], train: ["f=coupling", "f=planar&d=rings"],
    triangular: ["", "d=5&p=bumps"], model: [""], broken: ["t=scale", "t=fold", "t=box", "t=order"],
  };
  for (const [panel, each] of Object.entries(queries))
    for (const [k, query] of each.entries()) {
      const page = await open(browser, panel, { motion: "reduce", query });
      if (panel === "model") await page.waitForSelector(".multiple[data-column]", { timeout: 30_000 });
      if (panel === "push-forward") await page.waitForFunction(() => document.querySelectorAll(".panel select option").length > 4);
      const all = page.getByRole("button", { name: "Copy the Python" });
      for (let button = 0; button < (await all.count()); button++) {
        await all.nth(button).click();
        const text = await page.locator("details.python code").nth(button).textContent();
        assert.match(text, /import/);
        if (folder) writeFileSync(`${folder}/${panel}_${k}_${button}.py`, text);
      }
      await page.context().close();
    }
});

test("tables: a good one trains, a wrong one and a huge one are refused in a sentence", async () => {
  const page = await open(browser, "train", { query: "d=table" });
  const give = (name, buffer) => page.locator("input[type=file]").first().setInputFiles({ name, mimeType: "text/csv", buffer });
  await give("huge.csv", Buffer.alloc(25_000_000, 65));
  await page.waitForFunction(() => document.querySelector(".message")?.textContent.includes("20 MB"));
  await give("wrong.csv", Buffer.from([0, 1, 2, 255, 254, 0, 0, 7]));
  await page.waitForFunction(() => !document.querySelector(".message")?.textContent.includes("20 MB") && document.querySelector(".message.there"));
  await give("good.csv", Buffer.from(CSV(400)));
  await page.waitForFunction(() => [...document.querySelectorAll("select option")].some((o) => o.textContent === "b"));
  await page.locator("button.main").click();
  await until(page, fact("step"), (value) => value > 10);
  assert.equal(await page.locator(".message.there").count(), 0);
  await clean(page);
});

test("your model: a slider moves, and the other columns answer", async () => {
  const page = await open(browser, "model");
  await page.waitForSelector(".multiple[data-column]", { timeout: 30_000 });
  const card = page.locator('.multiple:has(input[type=range])').first();
  const slider = card.locator("input[type=range]");
  for (let k = 0; k < 6; k++) await slider.press("ArrowRight");
  await until(page, fact("given"), (value) => value === 1);
  const milliseconds = await until(page, fact("milliseconds"), (value) => value > 0);
  console.log(`# columns answer in ${milliseconds} ms`);
  await clean(page);
});

test("the address brings back what was chosen, and tabs obey the keyboard", async () => {
  const page = await open(browser, "triangular", { query: "d=5" });
  assert.ok((await page.locator('td[data-cell="5,5"]').count()) > 0);
  await page.locator("#tab-triangular").focus();
  await page.keyboard.press("End");
  assert.equal(await page.getAttribute("#tab-broken", "aria-selected"), "true");
  await page.keyboard.press("Home");
  assert.equal(await page.getAttribute("#tab-change", "aria-selected"), "true");
  await page.evaluate(() => (location.hash = "#triangular?d=4"));
  await page.waitForSelector('td[data-cell="4,4"]');
  assert.equal(await page.getAttribute("#tab-triangular", "aria-selected"), "true");
});

test("no panel is wider than a telephone, in light and in dark", async () => {
  for (const theme of ["light", "dark"])
    for (const panel of ["change", "push-forward", "triangular", "train", "model", "broken"]) {
      const page = await open(browser, panel, { width: theme === "light" ? 420 : 320, height: 800, theme, motion: "reduce" });
      await page.waitForTimeout(300);
      const [content, view] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
      assert.ok(content <= view, `${panel}: ${content} > ${view}`);
      await clean(page);
      await page.context().close();
    }
});
