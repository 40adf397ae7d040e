//! The schemas that one document shares. What is taken and what is answered differ where a field may be left out of the
//! one and never of the other, so each is generated for itself, and only what is the same is shared.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value};

/// Where the document keeps them.
const PATH: &str = "/components/schemas";

/// Schemas on their way into a document.
pub(super) struct Definitions {
    taken: SchemaGenerator,
    answered: SchemaGenerator,
    /// Roots of what is taken, by the name of their message.
    inputs: Map<String, Value>,
}

fn generator(draft: fn() -> SchemaSettings, contract: fn(SchemaSettings) -> SchemaSettings) -> SchemaGenerator {
    contract(draft().with(|settings| settings.definitions_path = PATH.into())).into_generator()
}

impl Definitions {
    /// Schemas of a draft.
    pub(super) fn of(draft: fn() -> SchemaSettings) -> Definitions {
        Definitions {
            taken: generator(draft, SchemaSettings::for_deserialize),
            answered: generator(draft, SchemaSettings::for_serialize),
            inputs: Map::new(),
        }
    }

    /// Adds what a message takes; its schema comes out of [`Definitions::finish`].
    pub(super) fn input(&mut self, message: &str, of: fn(&mut SchemaGenerator) -> Schema) {
        let schema = of(&mut self.taken).to_value();
        self.inputs.insert(message.to_owned(), schema);
    }

    /// Adds what is answered, and refers to it.
    pub(super) fn output(&mut self, of: fn(&mut SchemaGenerator) -> Schema) -> Value {
        of(&mut self.answered).to_value()
    }

    /// All schemas by name, and the schemas of inputs by message.
    pub(super) fn finish(mut self) -> (Map<String, Value>, Map<String, Value>) {
        let mut all = self.answered.take_definitions(true);
        let mut taken = self.taken.take_definitions(true);
        // A schema that refers to one that differs differs itself, so names are looked at until nothing changes.
        let mut apart: Vec<String> = Vec::new();
        loop {
            let differs = |name: &String, schema: &Value| {
                !apart.contains(name)
                    && all
                        .get(name)
                        .is_some_and(|other| other != schema || refers_to(schema, &apart))
            };
            let more: Vec<String> = taken
                .iter()
                .filter(|(name, schema)| differs(name, schema))
                .map(|(name, _)| name.clone())
                .collect();
            if more.is_empty() {
                break;
            }
            apart.extend(more);
        }
        for (name, mut schema) in std::mem::take(&mut taken) {
            rename(&mut schema, &apart);
            if apart.contains(&name) {
                all.insert(input_name(&name), schema);
            } else {
                all.insert(name, schema);
            }
        }
        for schema in self.inputs.values_mut() {
            rename(schema, &apart);
        }
        (all, self.inputs)
    }
}

fn input_name(name: &str) -> String {
    format!("{name}Input")
}

fn target(name: &str) -> String {
    format!("#{PATH}/{name}")
}

fn refers_to(schema: &Value, names: &[String]) -> bool {
    match schema {
        Value::Object(object) => object.iter().any(|(key, value)| {
            let hit = key == "$ref" && names.iter().any(|name| value.as_str() == Some(&target(name)));
            hit || refers_to(value, names)
        }),
        Value::Array(items) => items.iter().any(|item| refers_to(item, names)),
        _ => false,
    }
}

fn rename(schema: &mut Value, names: &[String]) {
    match schema {
        Value::Object(object) => {
            for (key, value) in object.iter_mut() {
                let renamed = names
                    .iter()
                    .find(|name| key == "$ref" && value.as_str() == Some(&target(name)));
                match renamed {
                    Some(name) => *value = target(&input_name(name)).into(),
                    None => rename(value, names),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, names)),
        _ => {}
    }
}
