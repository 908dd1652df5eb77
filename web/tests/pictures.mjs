// Pictures of all panels, in light and dark, wide and narrow, to be looked at: FLOW_LAB=<address> node tests/pictures.mjs DIR

import { mkdirSync } from "node:fs";

import { launch, open } from "./support.mjs";

const folder = process.argv[2];
mkdirSync(folder, { recursive: true });
const browser = await launch();
for (const panel of ["change", "push-forward", "triangular", "train", "model", "broken"])
  for (const [theme, width] of [["light", 1280], ["dark", 1280], ["light", 420], ["dark", 420]]) {
    const page = await open(browser, panel, { theme, width, height: width > 800 ? 900 : 800, motion: "reduce" });
    if (panel === "train") {
      await page.locator("button.main").click();
      await page.waitForTimeout(6_000);
      await page.locator("button.main").click();
    }
    if (panel === "model") await page.waitForSelector(".multiple[data-column]").catch(() => null);
    await page.waitForTimeout(900);
    await page.screenshot({ path: `${folder}/${panel}-${theme}-${width}.png`, fullPage: true });
    if (page.complaints.length) console.log(panel, theme, width, page.complaints);
    await page.context().close();
  }
await browser.close();
