// The inside of the child for @huggingface/jinja: `node render.mjs JOB ANSWERS MODULES`.
// MODULES is a folder with node_modules/@huggingface/jinja. Templates are rendered as transformers.js does it.
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const [, , job, answers, modules] = process.argv;
const { Environment, Template } = createRequire(resolve(modules, "render.mjs"))("@huggingface/jinja");
const { now, longest, most, templates, requests } = JSON.parse(readFileSync(job, "utf8"));

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

// The file says that the engine was loaded; each answer is one line, so that a death loses none before it.
writeFileSync(answers, "");
let written = 0;
for (const [number, context] of requests) {
  const line = `${JSON.stringify(answer(templates[number], context))}\n`;
  appendFileSync(answers, line);
  written += line.length;
  if (written > most) {
    console.log(`it wrote more than ${most.toLocaleString("en")} characters in all`);
    process.exit(1);
  }
}
