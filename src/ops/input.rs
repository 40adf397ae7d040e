//! What callers send, whichever door they take: JSON, and if it does not fit, the field at fault is named.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::engine::error::{ErrorKind, GatewayError};

/// How deep [`field_at_fault`] looks.
const DEPTH: usize = 3;

/// A JSON object of the fields of `T`; an empty body stands for `{}`. Fields that `T` does not know are its own affair.
///
/// # Errors
/// `InvalidBody`; `InvalidField` with the field at fault.
pub fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, GatewayError> {
    of_object(object(bytes)?)
}

/// A JSON object; an empty body stands for `{}`.
///
/// # Errors
/// `InvalidBody`.
pub fn object(bytes: &[u8]) -> Result<Map<String, Value>, GatewayError> {
    let bytes = if bytes.trim_ascii().is_empty() { b"{}" } else { bytes };
    let value: Value = serde_json::from_slice(bytes).map_err(|error| {
        GatewayError::new(
            ErrorKind::InvalidBody,
            format!(
                "The body is not valid JSON (line {}, column {}).",
                error.line(),
                error.column()
            ),
        )
    })?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(GatewayError::new(
            ErrorKind::InvalidBody,
            "The body must be a JSON object.",
        )),
    }
}

/// The fields of `T` in an object.
///
/// # Errors
/// `InvalidField` with the field at fault.
pub fn of_object<T: DeserializeOwned>(object: Map<String, Value>) -> Result<T, GatewayError> {
    match T::deserialize(Value::Object(object.clone())) {
        Ok(value) => Ok(value),
        Err(error) => {
            let words = error.to_string();
            let param = field_at_fault::<T>(&object, &[], &words).or_else(|| quoted(&words));
            Err(match param {
                Some(param) => {
                    let message = format!("`{param}`: {words}.");
                    let error = GatewayError::field(param, message);
                    if words.starts_with("missing field") {
                        error.with_code("missing")
                    } else {
                        error
                    }
                }
                None => GatewayError::new(ErrorKind::InvalidBody, format!("The body does not fit: {words}.")),
            })
        }
    }
}

/// serde does not say where a value was wrong, so each field is tried alone: the one at fault says the same `words`. Only
/// on the way to a 400.
fn field_at_fault<T: DeserializeOwned>(object: &Map<String, Value>, above: &[&str], words: &str) -> Option<String> {
    let says_so = |value: Value| error_of::<T>(&nested(above, value)).as_deref() == Some(words);
    if let Some(name) = quoted(words)
        && !object.contains_key(&name)
    {
        // Is it missing here, or somewhere below?
        let mut with = object.clone();
        with.insert(name.clone(), Value::Null);
        if !says_so(Value::Object(with)) {
            return Some([above, &[&name]].concat().join("."));
        }
    }
    for (name, value) in object {
        let mut path: Vec<&str> = above.to_vec();
        path.push(name);
        let says_so = |value: Value| error_of::<T>(&nested(&path, value)).as_deref() == Some(words);
        if !says_so(value.clone()) {
            continue;
        }
        if let Value::Object(inner) = value
            && path.len() < DEPTH
            && let Some(deeper) = field_at_fault::<T>(inner, &path, words)
        {
            return Some(deeper);
        }
        if let Value::Array(items) = value
            && !says_so(Value::Array(Vec::new()))
            && let Some(at) = items.iter().position(|item| says_so(Value::Array(vec![item.clone()])))
        {
            return Some(format!("{}.{at}", path.join(".")));
        }
        return Some(path.join("."));
    }
    None
}

fn error_of<T: DeserializeOwned>(value: &Value) -> Option<String> {
    T::deserialize(value).err().map(|error| error.to_string())
}

fn nested(path: &[&str], value: Value) -> Value {
    path.iter().rev().fold(value, |value, name| {
        let mut object = Map::new();
        object.insert((*name).to_owned(), value);
        Value::Object(object)
    })
}

/// The name in "missing field `name`".
fn quoted(words: &str) -> Option<String> {
    words
        .strip_prefix("missing field `")?
        .split('`')
        .next()
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use grok2api_schemas::admin::keys::KeyBody;
    use grok2api_schemas::admin::tokens::TokenPatch;
    use grok2api_schemas::bus::admin::{TokenPatchAsk, TokensAsk};
    use grok2api_schemas::ids::TokenId;

    use super::*;

    fn param<T: DeserializeOwned>(body: &str) -> Option<String> {
        json::<T>(body.as_bytes()).err().and_then(|error| error.param)
    }

    #[test]
    fn the_field_at_fault_is_named() {
        assert_eq!(param::<KeyBody>(r#"{"name":"a","rpm":"many"}"#).as_deref(), Some("rpm"));
        assert_eq!(
            param::<KeyBody>(r#"{"limits":{"chat_per_day":1,"image_per_day":"x"}}"#).as_deref(),
            Some("limits.image_per_day")
        );
        assert_eq!(
            param::<KeyBody>(r#"{"limits":[]}"#),
            None,
            "a list of limits reads as four of them"
        );
        assert_eq!(
            param::<KeyBody>(r#"{"allowed_models":["a",7]}"#).as_deref(),
            Some("allowed_models.1")
        );
        assert_eq!(
            param::<TokenPatch>(r#"{"note":"x","secret":"y"}"#).as_deref(),
            Some("secret")
        );
        assert_eq!(param::<TokenPatch>(r#"{"switch":"maybe"}"#).as_deref(), Some("switch"));
        let id = TokenId::generate();
        let patch = |body: String| param::<TokenPatchAsk>(&body);
        assert_eq!(patch(format!(r#"{{"id":"{id}"}}"#)).as_deref(), Some("set"));
        assert_eq!(patch(r#"{"set":{}}"#.into()).as_deref(), Some("id"));
        assert_eq!(patch(r#"{"id":"key_1","set":{}}"#.into()).as_deref(), Some("id"));
        assert_eq!(
            patch(format!(r#"{{"id":"{id}","set":{{"labl":"x"}}}}"#)).as_deref(),
            Some("set.labl")
        );
        assert_eq!(
            patch(format!(r#"{{"id":"{id}","set":{{"tags":["a",{{}}]}}}}"#)).as_deref(),
            Some("set.tags.1")
        );
        assert_eq!(
            param::<TokensAsk>(&format!(r#"{{"ids":["{id}","x"]}}"#)).as_deref(),
            Some("ids.1")
        );
        for not_an_object in ["[]", "1", "nonsense", "{", "\"\""] {
            let error = json::<KeyBody>(not_an_object.as_bytes()).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidBody, "{not_an_object}");
        }
        assert_eq!(json::<KeyBody>(b" ").unwrap(), KeyBody::default());
    }
}
