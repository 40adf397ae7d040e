//! A JSON request by its outermost members: validated in one pass, each member's kind and place known, the few that must
//! differ upstream changed, every other byte as it came. For routes that need less than the chat front reads.
//!
//! A member may appear once only: which of two wins is the reader's choice, and what is metered must be what the upstream
//! obeys.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use super::json::{Cursor, Fault, Kind, MAX_DEPTH, Span};
use crate::engine::error::{ErrorKind, GatewayError};

/// No model writes more tokens than a signed 32-bit number holds, and upstreams read no more.
pub const MAX_TOKENS: u64 = i32::MAX as u64;
/// Longer than any model's name.
const MAX_MODEL_BYTES: usize = 256;
/// More members than any request of the dialects has; beyond it, looking for doubles would take too long.
const MAX_MEMBERS: usize = 512;

/// One member of the outermost object.
#[derive(Clone, Debug)]
struct Member<'a> {
    name: Cow<'a, str>,
    kind: Kind,
    value: Span,
}

/// The members of a body.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    text: &'a str,
    /// Just behind the outermost `{`.
    open: usize,
    members: Vec<Member<'a>>,
}

impl<'a> Members<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// 400 when it is not a JSON object in UTF-8, is nested too deeply, or names a member twice.
    pub fn read(body: &'a [u8]) -> Result<Members<'a>, GatewayError> {
        let text = std::str::from_utf8(body).map_err(|error| {
            GatewayError::new(
                ErrorKind::InvalidBody,
                format!(
                    "The request body is not valid UTF-8: invalid bytes at offset {}.",
                    error.valid_up_to()
                ),
            )
        })?;
        let wrong = |fault: Fault| malformed(&fault, body);
        let mut cursor = Cursor::new(text, MAX_DEPTH);
        let kind = cursor.kind().map_err(wrong)?;
        if kind != Kind::Object {
            // The whole must be JSON before its type is worth a word.
            cursor.skip_value().map_err(wrong)?;
            cursor.end().map_err(wrong)?;
            return Err(GatewayError::new(
                ErrorKind::InvalidBody,
                format!("The request body must be a JSON object; it is {}.", kind.as_str()),
            )
            .with_code("invalid_type"));
        }
        cursor.enter().map_err(wrong)?;
        let open = cursor.position();
        let mut members: Vec<Member<'a>> = Vec::with_capacity(16);
        let mut first = true;
        while let Some(name) = cursor.next_member(&mut first).map_err(wrong)? {
            let name = name.decode().map_err(wrong)?;
            if members.iter().any(|member| member.name == name) {
                return Err(duplicate(&name));
            }
            if members.len() >= MAX_MEMBERS {
                return Err(GatewayError::new(
                    ErrorKind::InvalidBody,
                    format!("The request body has more than {MAX_MEMBERS} members."),
                ));
            }
            let kind = cursor.kind().map_err(wrong)?;
            let value = cursor.skip_value().map_err(wrong)?;
            members.push(Member { name, kind, value });
        }
        cursor.end().map_err(wrong)?;
        Ok(Members { text, open, members })
    }

    fn find(&self, name: &str) -> Option<&Member<'a>> {
        self.members.iter().find(|member| member.name == name)
    }

    /// The kind of a member; `None` if it is missing or `null`.
    pub fn kind(&self, name: &str) -> Option<Kind> {
        self.find(name)
            .map(|member| member.kind)
            .filter(|kind| *kind != Kind::Null)
    }

    /// Where a member's value stands, `null` included.
    pub fn span(&self, name: &str) -> Option<Span> {
        self.find(name).map(|member| member.value)
    }

    /// A member's value as it stands; `None` if it is missing or `null`.
    pub fn raw(&self, name: &str) -> Option<&'a str> {
        let member = self.find(name).filter(|member| member.kind != Kind::Null)?;
        self.text.get(member.value.start..member.value.end)
    }

    /// Refuses a member of another kind; missing and `null` are fine.
    ///
    /// # Errors
    /// 400 naming it.
    pub fn must_be(&self, name: &str, kinds: &[Kind]) -> Result<(), GatewayError> {
        match self.kind(name) {
            Some(kind) if !kinds.contains(&kind) => {
                let wanted: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
                Err(wrong_type(name, &wanted.join(" or "), kind))
            }
            _ => Ok(()),
        }
    }

    /// A string.
    ///
    /// # Errors
    /// 400 when it is something else.
    pub fn string(&self, name: &str) -> Result<Option<String>, GatewayError> {
        self.must_be(name, &[Kind::String])?;
        let Some(raw) = self.raw(name) else { return Ok(None) };
        serde_json::from_str(raw)
            .map(Some)
            .map_err(|_| GatewayError::field(name.to_owned(), format!("`{name}` holds an unpaired surrogate.")))
    }

    /// A string; empty counts as not given.
    ///
    /// # Errors
    /// 400 when it is something else.
    pub fn hint(&self, name: &str) -> Result<Option<String>, GatewayError> {
        Ok(self.string(name)?.filter(|text| !text.is_empty()))
    }

    /// A boolean.
    ///
    /// # Errors
    /// 400 when it is something else.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, GatewayError> {
        self.must_be(name, &[Kind::Bool])?;
        Ok(self.raw(name).map(|raw| raw == "true"))
    }

    /// A whole number within bounds.
    ///
    /// # Errors
    /// 400 when it is something else, or out of bounds.
    pub fn integer(&self, name: &str, min: u64, max: u64) -> Result<Option<u64>, GatewayError> {
        let Some(kind) = self.kind(name) else { return Ok(None) };
        if kind != Kind::Number {
            return Err(wrong_type(name, "an integer", kind));
        }
        let digits = self.raw(name).unwrap_or_default();
        if digits.contains(['.', 'e', 'E']) {
            return Err(wrong_type(name, "an integer", Kind::Number));
        }
        let value = match digits.parse::<u64>() {
            Ok(value) => Some(value),
            // `-5` and `-0`, or more digits than a u64 holds.
            Err(_) if digits.starts_with('-') => None,
            Err(_) => Some(u64::MAX),
        };
        match value.filter(|value| *value >= min) {
            None => Err(GatewayError::field(
                name.to_owned(),
                format!("`{name}` must be at least {min}; it is {}.", clip(digits)),
            )
            .with_code("integer_below_min_value")),
            Some(value) if value > max => Err(GatewayError::field(
                name.to_owned(),
                format!("`{name}` must be at most {max}; it is {}.", clip(digits)),
            )
            .with_code("integer_above_max_value")),
            Some(value) => Ok(Some(value)),
        }
    }

    /// The name of the model, which every request must give: the upstream's default would be a paid one of its choice.
    ///
    /// # Errors
    /// 400 when it is missing, empty, too long or not a string.
    pub fn model(&self) -> Result<String, GatewayError> {
        if self.find("model").is_some_and(|member| member.kind == Kind::Null) {
            return Err(missing("model", "Name a model: `model` is null."));
        }
        let model = self
            .string("model")?
            .ok_or_else(|| missing("model", "Name a model: `model` is required."))?;
        if model.trim().is_empty() {
            return Err(GatewayError::field("model", "Name a model: `model` is empty."));
        }
        if model.len() > MAX_MODEL_BYTES {
            return Err(GatewayError::field(
                "model",
                format!("`model` is longer than {MAX_MODEL_BYTES} bytes; no model has such a name."),
            ));
        }
        Ok(model)
    }

    /// Goes through every string that is the value of a member, anywhere inside a member's value: `visit(name, text)`, the
    /// name decoded, the text as it stands, escapes included.
    pub fn strings(&self, name: &str, mut visit: impl FnMut(&str, &str)) {
        if let Some(raw) = self.raw(name) {
            let mut cursor = Cursor::new(raw, MAX_DEPTH);
            // It was read once already, so nothing in it can be at fault.
            let _ = walk(&mut cursor, "", &mut visit);
        }
    }

    /// The body with members set to these values, in place or at the front; the same buffer, uncopied, if that changes
    /// nothing.
    pub fn with(&self, body: &Bytes, set: &[(&str, Value)]) -> Bytes {
        let mut front = String::new();
        let mut patches: Vec<(Span, String)> = Vec::new();
        for (name, value) in set {
            let written = value.to_string();
            match self.find(name) {
                Some(member) if self.text.get(member.value.start..member.value.end) == Some(&*written) => {}
                Some(member) => patches.push((member.value, written)),
                None => {
                    if !front.is_empty() {
                        front.push(',');
                    }
                    front.push_str(&format!("{}:{written}", Value::from(*name)));
                }
            }
        }
        if front.is_empty() && patches.is_empty() {
            return body.clone();
        }
        if !front.is_empty() {
            if !self.members.is_empty() {
                front.push(',');
            }
            let at = Span {
                start: self.open,
                end: self.open,
            };
            patches.push((at, front));
        }
        patches.sort_by_key(|(at, _)| at.start);
        let mut out = BytesMut::with_capacity(body.len() + 64);
        let mut kept = 0;
        for (at, with) in &patches {
            out.extend_from_slice(body.get(kept..at.start).unwrap_or_default());
            out.extend_from_slice(with.as_bytes());
            kept = at.end;
        }
        out.extend_from_slice(body.get(kept..).unwrap_or_default());
        out.freeze()
    }
}

fn walk(cursor: &mut Cursor<'_>, name: &str, visit: &mut impl FnMut(&str, &str)) -> Result<(), Fault> {
    match cursor.kind()? {
        Kind::String => {
            let text = cursor.string()?;
            visit(name, text.raw);
        }
        Kind::Object => {
            cursor.enter()?;
            let mut first = true;
            while let Some(member) = cursor.next_member(&mut first)? {
                // Whoever guards what a member names must know it however its name is written. One that says nothing stands
                // as it came: what follows it must be seen.
                let name = member.decode().unwrap_or(Cow::Borrowed(member.raw));
                walk(cursor, &name, visit)?;
            }
        }
        Kind::Array => {
            cursor.enter()?;
            let mut first = true;
            while cursor.next_element(&mut first)? {
                walk(cursor, name, visit)?;
            }
        }
        Kind::Number | Kind::Bool | Kind::Null => {
            cursor.skip_value()?;
        }
    }
    Ok(())
}

/// What is wrong with a body that is not JSON, and where.
pub fn malformed(fault: &Fault, body: &[u8]) -> GatewayError {
    let (line, column) = fault.line_and_column(body);
    if fault.too_deep {
        return GatewayError::new(
            ErrorKind::InvalidBody,
            format!("The request body is nested more than {MAX_DEPTH} levels deep (line {line}, column {column})."),
        )
        .with_code("nested_too_deeply");
    }
    GatewayError::new(
        ErrorKind::InvalidBody,
        format!(
            "The request body is not valid JSON: {} at line {line}, column {column} (byte {}).",
            fault.what, fault.at
        ),
    )
}

/// A member that is required.
pub fn missing(path: &'static str, message: &'static str) -> GatewayError {
    GatewayError::field(path, message).with_code("missing")
}

/// A member that is there twice.
pub fn duplicate(path: &str) -> GatewayError {
    GatewayError::field(path.to_owned(), format!("`{path}` appears twice; give it once.")).with_code("duplicate_field")
}

/// A member of another type.
pub fn wrong_type(path: &str, wanted: &str, got: Kind) -> GatewayError {
    let got = match (wanted, got) {
        ("an integer", Kind::Number) => "a number with a fraction or exponent",
        (_, got) => got.as_str(),
    };
    GatewayError::field(path.to_owned(), format!("`{path}` must be {wanted}; it is {got}.")).with_code("invalid_type")
}

/// A client's own text in a message, at most 40 bytes of it.
pub fn clip(text: &str) -> &str {
    let mut end = text.len().min(40);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests;
