// The panels, in the order of the lecture.

import type { Panel } from "../panel";
import { changePanel } from "./change/panel";
import { pushforwardPanel } from "./pushforward/panel";
import { trainPanel } from "./train/panel";
import { triangularPanel } from "./triangular/panel";
import { modelPanel } from "./model/panel";
import { brokenPanel } from "./broken/panel";

export const PANELS: readonly Panel[] = [
  changePanel, pushforwardPanel, triangularPanel, trainPanel, modelPanel, brokenPanel,
];
export { changePanel };
