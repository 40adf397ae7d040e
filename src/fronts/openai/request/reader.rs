//! Values of the types that members have, and the words for those that have another.

use std::borrow::Cow;

use crate::engine::error::GatewayError;
use crate::fronts::json::{Fault, Kind, Span, Text};
use crate::fronts::members::malformed;
pub(super) use crate::fronts::members::{clip, duplicate, missing, wrong_type};

use super::Reader;

impl<'a> Reader<'a> {
    /// A whole number within bounds, or `null`.
    pub(super) fn integer(
        &mut self,
        path: &'static str,
        min: u64,
        max: u64,
    ) -> Result<(Span, Option<u64>), GatewayError> {
        match self.kind()? {
            Kind::Null => return Ok((self.skip()?, None)),
            Kind::Number => {}
            other => return Err(wrong_type(path, "an integer", other)),
        }
        let span = self.skip()?;
        let digits = self.body.get(span.start..span.end).unwrap_or_default();
        if digits.contains(['.', 'e', 'E']) {
            return Err(wrong_type(path, "an integer", Kind::Number));
        }
        let value = match digits.parse::<u64>() {
            Ok(value) if value < min => None,
            Ok(value) => Some(value),
            // `-5` and `-0`, or more digits than a u64 holds.
            Err(_) if digits.starts_with('-') => None,
            Err(_) => Some(u64::MAX),
        };
        match value {
            None => Err(GatewayError::field(
                path,
                format!("`{path}` must be at least {min}; it is {}.", clip(digits)),
            )
            .with_code("integer_below_min_value")),
            Some(value) if value > max => Err(GatewayError::field(
                path,
                format!("`{path}` must be at most {max}; it is {}.", clip(digits)),
            )
            .with_code("integer_above_max_value")),
            Some(value) => Ok((span, Some(value))),
        }
    }

    /// `true`, `false` or `null`.
    pub(super) fn boolean(&mut self, path: &'static str) -> Result<(Option<bool>, Span), GatewayError> {
        self.must_be(path, &[Kind::Bool])?;
        let span = self.skip()?;
        Ok((
            match span.of(self.body.as_bytes()) {
                b"true" => Some(true),
                b"false" => Some(false),
                _ => None,
            },
            span,
        ))
    }

    /// A string or `null`; empty counts as not given.
    pub(super) fn hint(&mut self, path: &'static str) -> Result<Option<String>, GatewayError> {
        self.must_be(path, &[Kind::String])?;
        if self.kind()? == Kind::Null {
            self.skip()?;
            return Ok(None);
        }
        let text = self.string()?;
        Ok(Some(self.decode(&text)?.into_owned()).filter(|hint| !hint.is_empty()))
    }

    /// Refuses the next value unless it is of one of these kinds, or `null`.
    pub(super) fn must_be(&mut self, path: &str, kinds: &[Kind]) -> Result<(), GatewayError> {
        let kind = self.kind()?;
        if kind == Kind::Null || kinds.contains(&kind) {
            return Ok(());
        }
        let wanted: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        Err(wrong_type(path, &wanted.join(" or "), kind))
    }

    pub(super) fn kind(&mut self) -> Result<Kind, GatewayError> {
        self.cursor.kind().map_err(|fault| self.malformed(fault))
    }

    pub(super) fn enter(&mut self) -> Result<(), GatewayError> {
        self.cursor.enter().map_err(|fault| self.malformed(fault))
    }

    pub(super) fn next_member(&mut self, first: &mut bool) -> Result<Option<Text<'a>>, GatewayError> {
        self.cursor.next_member(first).map_err(|fault| self.malformed(fault))
    }

    pub(super) fn next_element(&mut self, first: &mut bool) -> Result<bool, GatewayError> {
        self.cursor.next_element(first).map_err(|fault| self.malformed(fault))
    }

    pub(super) fn string(&mut self) -> Result<Text<'a>, GatewayError> {
        self.cursor.string().map_err(|fault| self.malformed(fault))
    }

    pub(super) fn decode(&self, text: &Text<'a>) -> Result<Cow<'a, str>, GatewayError> {
        text.decode().map_err(|fault| self.malformed(fault))
    }

    pub(super) fn skip(&mut self) -> Result<Span, GatewayError> {
        self.cursor.skip_value().map_err(|fault| self.malformed(fault))
    }

    pub(super) fn finish(&mut self) -> Result<(), GatewayError> {
        self.cursor.end().map_err(|fault| self.malformed(fault))
    }

    pub(super) fn malformed(&self, fault: Fault) -> GatewayError {
        malformed(&fault, self.body.as_bytes())
    }
}

/// What other well-known members of a chat request must be; better told here than after a token was taken.
pub(super) fn types_of(name: &str) -> Option<&'static [Kind]> {
    Some(match name {
        "temperature" | "top_p" | "frequency_penalty" | "presence_penalty" | "seed" | "top_logprobs" => &[Kind::Number],
        "logprobs" | "parallel_tool_calls" | "store" => &[Kind::Bool],
        "response_format" | "logit_bias" | "metadata" => &[Kind::Object],
        "tool_choice" => &[Kind::String, Kind::Object],
        "stop" => &[Kind::String, Kind::Array],
        "reasoning_effort" | "service_tier" | "safety_identifier" => &[Kind::String],
        _ => return None,
    })
}
