//! Values that satisfy a JSON schema, filled with what the prompt offers.

use serde_json::{Map, Number, Value};

use super::pattern::matching;
use super::schema::{DEEP, bounds, choose, distinct, merge_all, of_format, resolve, size, type_of};

/// Levels at which a recursive schema that demands itself is given up.
const TOO_DEEP: usize = 64;
/// Values made for one schema, so that a hostile one ends soon.
const MOST_VALUES: usize = 20_000;

/// A source of believable values.
#[derive(Clone, Debug, Default)]
pub struct Filler {
    words: Vec<String>,
    numbers: Vec<f64>,
    prompt: String,
    next_word: usize,
    next_number: usize,
    made: usize,
}

impl Filler {
    /// Takes names and numbers from a prompt. Capitalised words come first, from the `skip`-th on.
    pub fn new(prompt: &str, skip: usize) -> Filler {
        let mut words = names(prompt);
        let others = prompt
            .split(|char: char| !char.is_alphanumeric())
            .filter(|word| word.chars().count() > 4);
        for word in others {
            if !words.iter().any(|name| name.contains(word)) {
                words.push(word.to_owned());
            }
        }
        let numbers = prompt
            .split(|char: char| !char.is_ascii_digit() && char != '.')
            .filter_map(|word| word.trim_matches('.').parse::<f64>().ok())
            .collect();
        Filler {
            words,
            numbers,
            prompt: prompt.to_lowercase(),
            next_word: skip,
            next_number: 0,
            made: 0,
        }
    }

    fn word(&mut self, field: &str) -> String {
        if self.words.is_empty() {
            return if field.is_empty() {
                "something".to_owned()
            } else {
                format!("some {}", field.replace('_', " "))
            };
        }
        let word = self.words[self.next_word % self.words.len()].clone();
        self.next_word += 1;
        word
    }

    fn number(&mut self) -> f64 {
        if self.numbers.is_empty() {
            return 1.0;
        }
        let number = self.numbers[self.next_number % self.numbers.len()];
        self.next_number += 1;
        number
    }

    /// A value for `schema`.
    pub fn value(&mut self, schema: &Value) -> Value {
        self.fill(schema, schema, "", 0)
    }

    fn fill(&mut self, schema: &Value, root: &Value, field: &str, depth: usize) -> Value {
        let Some(object) = schema.as_object() else {
            return Value::String(self.word(field));
        };
        self.made += 1;
        if depth > TOO_DEEP || self.made > MOST_VALUES {
            return Value::Null;
        }
        if let Some(target) = object
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|path| resolve(root, path))
        {
            return self.fill(target, root, field, depth + 1);
        }
        if let Some(fixed) = object.get("const") {
            return fixed.clone();
        }
        if let Some(choices) = object.get("enum").and_then(Value::as_array) {
            let named = choices.iter().find(|choice| {
                choice
                    .as_str()
                    .is_some_and(|text| self.prompt.contains(&text.to_lowercase()))
            });
            return named.or(choices.first()).cloned().unwrap_or(Value::Null);
        }
        if let Some(parts) = object.get("allOf").and_then(Value::as_array) {
            let merged = merge_all(object, parts, root, depth);
            return self.fill(&merged, root, field, depth + 1);
        }
        for union in ["anyOf", "oneOf"] {
            if let Some(variants) = object.get(union).and_then(Value::as_array)
                && let Some(variant) = choose(variants, root, depth)
            {
                return self.fill(variant, root, field, depth + 1);
            }
        }
        match type_of(object, depth) {
            "object" => self.object(object, root, depth),
            "array" => self.array(object, root, field, depth),
            "integer" => self.integer(object),
            "number" => self.float(object),
            "boolean" => Value::Bool(true),
            "null" => Value::Null,
            _ => Value::String(self.string(object, field)),
        }
    }

    fn object(&mut self, schema: &Map<String, Value>, root: &Value, depth: usize) -> Value {
        let mut object = Map::new();
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            for (name, property) in properties {
                if depth < DEEP || required.contains(&name.as_str()) {
                    object.insert(name.clone(), self.fill(property, root, name, depth + 1));
                }
            }
        }
        for name in required {
            if !object.contains_key(name) {
                let extra = schema
                    .get("additionalProperties")
                    .filter(|extra| extra.is_object())
                    .unwrap_or(&Value::Null);
                object.insert(name.to_owned(), self.fill(extra, root, name, depth + 1));
            }
        }
        let fewest = size(schema, "minProperties").unwrap_or(0);
        while object.len() < fewest {
            let extra = schema
                .get("additionalProperties")
                .filter(|extra| extra.is_object())
                .unwrap_or(&Value::Null);
            let name = format!("item_{}", object.len() + 1);
            let value = self.fill(extra, root, &name, depth + 1);
            object.insert(name, value);
        }
        Value::Object(object)
    }

    fn array(&mut self, schema: &Map<String, Value>, root: &Value, field: &str, depth: usize) -> Value {
        let fewest = size(schema, "minItems").unwrap_or(0);
        let most = size(schema, "maxItems").unwrap_or(usize::MAX);
        let fixed: Vec<Value> = schema
            .get("prefixItems")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let wanted = if depth >= DEEP { fewest } else { fixed.len().max(2) };
        let length = wanted.max(fewest).min(most);
        let unique = schema.get("uniqueItems") == Some(&Value::Bool(true));
        let any = Value::Null;
        let items = schema.get("items").unwrap_or(&any);
        let mut list: Vec<Value> = Vec::new();
        for index in 0..length {
            let item = fixed.get(index).unwrap_or(items);
            let mut value = self.fill(item, root, field, depth + 1);
            if unique && list.contains(&value) {
                match distinct(item, root, &value, &list) {
                    Some(other) => value = other,
                    None if list.len() >= fewest => break,
                    None => {}
                }
            }
            list.push(value);
        }
        Value::Array(list)
    }

    fn integer(&mut self, schema: &Map<String, Value>) -> Value {
        let (low, high) = bounds(schema, 1.0);
        let step = schema
            .get("multipleOf")
            .and_then(Value::as_f64)
            .filter(|step| *step >= 1.0)
            .unwrap_or(1.0);
        let wish = self.number().trunc();
        let low = (low / step).ceil() * step;
        let clamped = ((wish.clamp(low, high.max(low))) / step).floor() * step;
        let value = if clamped < low { low } else { clamped };
        Value::Number(Number::from(value as i64))
    }

    fn float(&mut self, schema: &Map<String, Value>) -> Value {
        let (low, high) = bounds(schema, 1e-3);
        let wish = self.number().clamp(low, high.max(low));
        let value = match schema
            .get("multipleOf")
            .and_then(Value::as_f64)
            .filter(|step| *step > 0.0)
        {
            Some(step) => {
                let floor = (wish / step).floor() * step;
                if floor < low { (low / step).ceil() * step } else { floor }
            }
            None => wish,
        };
        Number::from_f64(value).map_or(Value::Null, Value::Number)
    }

    fn string(&mut self, schema: &Map<String, Value>, field: &str) -> String {
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
            && let Some(text) = matching(pattern)
        {
            return text;
        }
        if let Some(text) = schema.get("format").and_then(Value::as_str).and_then(of_format) {
            return text.to_owned();
        }
        let mut text = self.word(field);
        let shortest = size(schema, "minLength").unwrap_or(0);
        while text.chars().count() < shortest {
            text.push_str(" and more");
        }
        let longest = size(schema, "maxLength").unwrap_or(usize::MAX);
        text.chars().take(longest).collect()
    }
}

/// Names in a prompt: runs of capitalised words, not the sentence's first; else its longer words.
pub fn names(prompt: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut run: Vec<&str> = Vec::new();
    let mut begins = true;
    let mut flush = |run: &mut Vec<&str>| {
        if !run.is_empty() {
            let name = run.join(" ");
            if !names.contains(&name) {
                names.push(name);
            }
            run.clear();
        }
    };
    for raw in prompt.split_whitespace() {
        let word = raw.trim_matches(|char: char| !char.is_alphanumeric());
        let capital = word.chars().next().is_some_and(char::is_uppercase) && word.chars().count() > 1;
        if capital && !begins {
            run.push(word);
        } else {
            flush(&mut run);
        }
        begins = raw.ends_with(['.', '!', '?']);
        if raw.ends_with([',', ';', '.', '!', '?']) {
            flush(&mut run);
        }
    }
    flush(&mut run);
    if names.is_empty() {
        names = prompt
            .split(|char: char| !char.is_alphanumeric())
            .filter(|word| word.chars().count() > 4)
            .map(str::to_owned)
            .collect();
    }
    names
}

#[cfg(test)]
mod tests;
