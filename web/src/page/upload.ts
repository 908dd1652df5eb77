// A file of the user's, chosen or dropped: refused before it is read where it is too large.

import { h, shown } from "./ui";

export interface UploadedFile {
  name: string;
  /** The bytes in base64. */
  content: string;
}

const LARGEST = 20 * 2 ** 20;

/** A field for a table; `said` gets a sentence where a file is refused. */
export function upload(label: string, chosen: (file: UploadedFile) => void, said: (sentence: string) => void): HTMLElement {
  const input = h("input", { type: "file", accept: ".csv,.tsv,.parquet,.pq,.feather,.arrow,.gz,.zst" }) as HTMLInputElement;
  const name = h("span", { class: "note" }, "or drop it here; at most 20 MB");
  const take = async (file: File | undefined) => {
    if (!file) return;
    const refusal = whyNot(file);
    if (refusal) {
      input.value = "";
      said(refusal);
      return;
    }
    try {
      const content = await base64Of(file);
      name.textContent = file.name;
      chosen({ name: file.name, content });
    } catch {
      said(`${file.name} cannot be read.`);
    }
  };
  // The same file, corrected, is chosen again.
  input.addEventListener("click", () => (input.value = ""));
  input.addEventListener("change", () => void take(input.files?.[0]));
  const place = h("div", { class: "control drop" }, h("label", {}, label, input), name);
  place.addEventListener("dragover", (event) => event.preventDefault());
  place.addEventListener("drop", (event) => {
    event.preventDefault();
    void take(event.dataTransfer?.files[0]);
  });
  return place;
}

/** One sentence on a file that is not taken; none if it is. */
export function whyNot(file: { name: string; size: number }): string {
  if (file.size === 0) return `${file.name} is empty.`;
  if (file.size > LARGEST)
    return `${file.name} has ${shown(file.size / 2 ** 20, 1)} MB, and at most 20 MB are read here: take a part of its rows.`;
  return "";
}

function base64Of(file: File): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => {
      const text = String(reader.result);
      resolve(text.slice(text.indexOf(",") + 1));
    };
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
