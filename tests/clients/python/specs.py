"""Specifications of an API: which schema an answer has, and what about an answer is not as its schema says."""

import json
import re
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator

# Where each vendor's specification is below the directory that is given.
VENDORS = {
    "openai": "openai-openapi/*.yaml",
    "xai": "xai-openapi/*handmerged.json",
    "anthropic": "anthropic-openapi/*.json",
    # AsyncAPI: what is said over the socket of realtime.
    "xai-realtime": "xai-asyncapi/realtime-*.json",
}
# What a stream's events are, where the specification does not tie them to the route.
EVENTS = {
    ("xai", "/v1/chat/completions"): "ChatResponseChunk",
    ("anthropic", "/v1/messages"): "MessageStreamEvent",
}


def mended(schema):
    """The schema as JSON Schema has it: `nullable` is a type, and of a choice one branch at least must fit."""
    if isinstance(schema, list):
        return [mended(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {name: mended(value) for name, value in schema.items()}
    # Branches overlap in the vendors' files, so that what they publish as examples fits several.
    if isinstance(changed.get("oneOf"), list):
        changed["anyOf"] = changed.pop("oneOf")
    if changed.get("nullable") is True:
        changed.pop("nullable")
        return {"anyOf": [changed, {"type": "null"}]}
    return changed


def leaves(error):
    """What is really wrong: of a choice, the branch that was meant."""
    if error.validator != "anyOf" or not error.context:
        return [error]
    branches = {}
    for one in error.context:
        branches.setdefault(one.schema_path[0], []).append(one)

    def unlikely(errors):
        of_tag = any(one.validator in ("const", "enum") and list(one.relative_path)[-1:] in (["type"], ["object"]) for one in errors)
        of_type = any(one.validator == "type" and not one.relative_path for one in errors)
        return (of_type, of_tag, len(errors))

    meant = min(branches.values(), key=unlikely)
    return [leaf for one in meant for leaf in leaves(one)]


class Spec:
    def __init__(self, name, document):
        self.name = name
        document = json.loads(json.dumps(document, default=str))
        self.components = mended(document["components"]["schemas"])
        prefix = "" if any(path.startswith("/v1/") for path in document.get("paths", {})) else "/v1"
        self.routes = []
        for path, methods in document.get("paths", {}).items():
            if "?" in path:
                continue
            pattern = re.compile(re.sub(r"\{[^}]+\}", "[^/]+", prefix + path) + "$")
            literal = len(re.sub(r"\{[^}]+\}", "", path))
            for method, operation in methods.items():
                if method in ("get", "post", "delete", "patch"):
                    answers = mended(operation.get("responses") or {})
                    self.routes.append((literal, method.upper(), pattern, prefix + path, answers))
        self.routes.sort(key=lambda route: -route[0])
        self.validators = {}

    def validator(self, schema):
        key = json.dumps(schema, sort_keys=True)
        if key not in self.validators:
            whole = {**schema, "components": {"schemas": self.components}}
            self.validators[key] = Draft202012Validator(whole)
        return self.validators[key]

    def component(self, name):
        return {"$ref": f"#/components/schemas/{name}"} if name in self.components else None

    def event(self, value):
        """The schema of an event of a socket, by its type; one that nothing fits where there is no such event."""
        types = {}
        for name, schema in self.components.items():
            for kind in (schema.get("properties") or {}).get("type", {}).get("enum") or []:
                if name.endswith("Event"):
                    types[kind] = self.component(name)
        return types.get(value.get("type")) or {"properties": {"type": {"enum": sorted(types)}}}

    def find(self, method, path):
        """The route's own name and its answers."""
        for _, wanted, pattern, name, answers in self.routes:
            if wanted == method and pattern.match(path):
                return name, answers
        return None, None

    def schema(self, method, path, status, kind):
        """Schema of an answer, or of one event if it is a stream; nothing: the specification does not say."""
        name, answers = self.find(method, path)
        if name is None:
            return None
        if kind == "text/event-stream" and (self.name, name) in EVENTS:
            return self.component(EVENTS[self.name, name])
        of_status = answers.get(str(status)) or answers.get(f"{status // 100}XX") or answers.get("default") or {}
        return ((of_status.get("content") or {}).get(kind) or {}).get("schema")

    def wrong(self, schema, value):
        """(where, rule, what) for each thing that is not as the schema says."""
        found = []
        for error in self.validator(schema).iter_errors(value):
            for leaf in leaves(error):
                where = "/".join("*" if isinstance(part, int) else str(part) for part in leaf.absolute_path)
                found.append((where, leaf.validator, leaf.message))
        return found


def ours():
    return Spec("own", json.loads((Path(__file__).parent.parent / "api.json").read_text()))


def vendors(directory):
    """Every vendor's specification, where there is a directory that has them."""
    if not directory:
        return []
    found = []
    for name, pattern in VENDORS.items():
        (path,) = Path(directory).glob(pattern)
        text = path.read_text()
        document = json.loads(text) if path.suffix == ".json" else yaml.load(text, Loader=yaml.CSafeLoader)
        found.append(Spec(name, document))
    return found
