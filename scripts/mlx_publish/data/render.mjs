// The inside of the child for @huggingface/jinja: `node render.mjs MODULES`, as `children/serving.py` talks.
// MODULES is a folder with node_modules/@huggingface/jinja. Templates are rendered as transformers.js does it.
import { readSync, writeSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

console.log = console.error; // standard output is the pipe to the parent
const [, , modules] = process.argv;
const { Environment, Template } = createRequire(resolve(modules, "render.mjs"))("@huggingface/jinja");
const { now, longest, templates, requests } = JSON.parse(firstLine());

function firstLine() {
  const parts = [];
  do {
    const part = Buffer.alloc(65536);
    parts.push(part.subarray(0, readSync(0, part)));
  } while (parts.at(-1).length && !parts.at(-1).includes("\n"));
  return Buffer.concat(parts).toString("utf8");
}

function send(kind, value) {
  let rest = Buffer.from(`${JSON.stringify({ [kind]: value })}\n`);
  while (rest.length) rest = rest.subarray(writeSync(1, rest));
}

class Refusal extends Error {}

// The engine brings strftime_now and raise_exception and lets nobody declare them again: its clock is read from Date,
// and only its own kind of error could not be told from a refusal.
const declare = Environment.prototype.set;
Environment.prototype.set = function (name, value) {
  const refuse = (message) => {
    throw new Refusal(message);
  };
  return declare.call(this, name, name === "raise_exception" ? refuse : value);
};

const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...parts) {
    super(...(parts.length ? parts : [`${now}Z`]));
  }
};

function answer(template, context) {
  try {
    const text = new Template(template).render(context);
    if (text.length > longest) {
      return { error: `it wrote more than ${longest.toLocaleString("en")} characters`, kind: "broken" };
    }
    return { text };
  } catch (error) {
    return { error: String(error?.message ?? error).slice(0, 500), kind: error instanceof Refusal ? "refused" : "broken" };
  }
}

send("said", "loaded");
for (const [number, context] of requests) {
  send("said", answer(templates[number], context));
}
send("done", null);
