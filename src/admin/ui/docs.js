// The OpenAPI document for people: groups, routes, what they take and give. Everything is written as text.

import { openapi } from './api.js';

const METHODS = ["get", "post", "patch", "put", "delete"];

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** What a reference leads to. */
function resolved(schema, whole) {
  let at = schema ?? {};
  for (let hops = 0; at.$ref && hops < 8; hops += 1) {
    at = at.$ref.slice(2).split("/").reduce((node, key) => node?.[key.replaceAll("~1", "/").replaceAll("~0", "~")], whole) ?? {};
  }
  return at;
}

/** A type in a few words. */
function typeOf(schema, whole) {
  const at = resolved(schema, whole);
  const choices = at.anyOf ?? at.oneOf;
  if (choices) return [...new Set(choices.map((one) => typeOf(one, whole)))].join(" or ");
  if (at.enum) return at.enum.map((value) => JSON.stringify(value)).join(", ");
  if (at.const !== undefined) return JSON.stringify(at.const);
  if (at.type === "array") return `list of ${typeOf(at.items, whole)}`;
  if (Array.isArray(at.type)) return at.type.join(" or ");
  return at.type ?? "anything";
}

function members(schema, whole) {
  const at = resolved(schema, whole);
  const names = Object.keys(at.properties ?? {});
  if (names.length === 0) return [];
  const needed = new Set(at.required ?? []);
  const rows = names.map((name) => element("tr", {},
    element("td", {}, element("code", {}, name), needed.has(name) ? "" : " (optional)"),
    element("td", {}, typeOf(at.properties[name], whole)),
    element("td", {}, at.properties[name].description ?? resolved(at.properties[name], whole).description ?? "")));
  return [element("table", {}, element("tbody", {}, ...rows))];
}

function contents(content, whole) {
  return Object.entries(content ?? {}).flatMap(([kind, { schema }]) => [
    element("p", {}, element("code", {}, kind)),
    ...members(schema, whole),
  ]);
}

function example(method, path, operation) {
  const isOpen = (operation.security ?? []).length === 0;
  const key = isOpen ? "" : ' \\\n  -H "Authorization: Bearer $KEY"';
  const kind = Object.keys(operation.requestBody?.content ?? {})[0];
  const body = kind === "application/json" ? " \\\n  -H 'Content-Type: application/json' -d '{…}'" : kind ? " \\\n  -F file=@…" : "";
  return element("pre", {}, `curl -X ${method.toUpperCase()} ${location.origin}${path}${key}${body}`);
}

function route(method, path, operation, whole) {
  const given = Object.entries(operation.responses ?? {}).flatMap(([status, answer]) => [
    element("h4", {}, status === "default" ? "Otherwise" : `Answers ${status}`),
    ...contents(answer.content, whole),
  ]);
  return element("details", { id: operation.operationId },
    element("summary", {},
      element("span", { class: "method" }, method),
      element("code", {}, path),
      element("span", { class: "about" }, operation.summary ?? "")),
    ...(operation.requestBody ? [element("h4", {}, "Takes"), ...contents(operation.requestBody.content, whole)] : []),
    ...given,
    example(method, path, operation));
}

function show(whole) {
  const groups = new Map();
  for (const [path, at] of Object.entries(whole.paths)) {
    for (const method of METHODS.filter((name) => at[name])) {
      const group = at[method].tags?.[0] ?? "Other";
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push(route(method, path, at[method], whole));
    }
  }
  const main = document.getElementById("docs");
  for (const [group, routes] of [...groups].sort(([a], [b]) => (a === "Administration") - (b === "Administration"))) {
    main.append(element("section", { "aria-label": group }, element("h2", {}, group), ...routes));
  }
  document.getElementById("about").replaceChildren(
    `${whole.info.description} Version ${whole.info.version}; the document: `,
    element("a", { href: "/openapi.json" }, "/openapi.json"));
  if (location.hash) document.getElementById(location.hash.slice(1))?.setAttribute("open", "");
}

try {
  show(await openapi());
} catch (error) {
  document.getElementById("about").textContent = `The document could not be loaded: ${error.message}`;
}
