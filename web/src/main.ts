// Flow Lab: six panels in a page of `pushforward lab`, or in a cell of a notebook.

import "./style.css";

import type { Transport } from "./protocol";
import { changePanel, PANELS } from "./panels";
import { Shell } from "./shell";
import { readAddress, writeAddress } from "./address";
import { SocketTransport, WidgetTransport, type WidgetModel } from "./transports";

/** Mounts all panels in an element; returns what takes them away. */
export function mount(root: HTMLElement, transport: Transport, inPage: boolean): () => void {
  const shell = new Shell(root, PANELS, changePanel.id, {
    transport,
    address: inPage ? readAddress() : { panel: null, state: {} },
    written: inPage ? writeAddress : () => undefined,
  });
  const changed = () => shell.show(readAddress());
  if (inPage) window.addEventListener("hashchange", changed);
  return () => {
    window.removeEventListener("hashchange", changed);
    shell.destroy();
  };
}

/** What anywidget calls for each view of the widget. */
function render({ model, el }: { model: WidgetModel; el: HTMLElement }): () => void {
  el.classList.add("flow-lab-widget");
  return mount(el, new WidgetTransport(model), false);
}

export default { render };
export { Flow2D } from "./maths/flow";

// Outside of a page, as in a test of its mathematics, there is nothing to mount.
const page = typeof document === "undefined" ? null : document.getElementById("flow-lab");
if (page) {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  mount(page, new SocketTransport(`${scheme}://${location.host}${page.dataset.socket}`), true);
}
