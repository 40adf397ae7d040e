//! Limits on the wire, in the older project's way: -1 stands for "unlimited".

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// USD ticks in one USD (`KeyLimits::budget_ticks`).
pub const TICKS_PER_USD: u64 = 10_000_000_000;

/// A count that may be unlimited. Written as a number, -1 = unlimited; read from a number, a number in quotes, `null` or
/// an empty text (both unlimited). The older project read every other text as "unlimited"; here that is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit(pub Option<u64>);

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            None => serializer.serialize_i64(-1),
            Some(limit) => serializer.serialize_u64(limit),
        }
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Limit, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Limit;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a whole number, or -1 or null for unlimited")
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Limit, E> {
                Ok(Limit(Some(value)))
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Limit, E> {
                Ok(Limit(u64::try_from(value).ok()))
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<Limit, E> {
                if value.fract() == 0.0 && value.abs() < 9e15 {
                    self.visit_i64(value as i64)
                } else {
                    Err(E::invalid_value(serde::de::Unexpected::Float(value), &self))
                }
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Limit, E> {
                match value.trim() {
                    "" => Ok(Limit(None)),
                    number => match number.parse::<i64>() {
                        Ok(number) => self.visit_i64(number),
                        Err(_) => Err(E::invalid_value(serde::de::Unexpected::Str(value), &self)),
                    },
                }
            }
            fn visit_unit<E: Error>(self) -> Result<Limit, E> {
                Ok(Limit(None))
            }
            fn visit_none<E: Error>(self) -> Result<Limit, E> {
                Ok(Limit(None))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl JsonSchema for Limit {
    fn schema_name() -> Cow<'static, str> {
        "Limit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A count; -1 = unlimited. Read from a number, a number in quotes, null or an empty text (both unlimited).",
            "type": ["integer", "string", "null"],
        })
    }
}

/// A sum of USD that may be unlimited, held in ticks. Written as a number of USD, -1 = unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsdLimit(pub Option<u64>);

impl Serialize for UsdLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            None => serializer.serialize_i64(-1),
            Some(ticks) => serializer.serialize_f64(usd_of_ticks(ticks)),
        }
    }
}

impl<'de> Deserialize<'de> for UsdLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<UsdLimit, D::Error> {
        let Some(usd) = Option::<f64>::deserialize(deserializer)? else {
            return Ok(UsdLimit(None));
        };
        if usd < 0.0 {
            return Ok(UsdLimit(None));
        }
        // A million USD a day is more than anybody means, and far from where ticks overflow.
        if !usd.is_finite() || usd > 1_000_000.0 {
            return Err(D::Error::custom(
                "expected USD from 0 to 1000000, or -1 or null for unlimited",
            ));
        }
        Ok(UsdLimit(Some((usd * TICKS_PER_USD as f64).round() as u64)))
    }
}

impl JsonSchema for UsdLimit {
    fn schema_name() -> Cow<'static, str> {
        "UsdLimit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A sum of USD; -1 or null = unlimited.",
            "type": ["number", "null"],
            "maximum": 1_000_000,
        })
    }
}

/// A sum in USD.
pub fn usd_of_ticks(ticks: u64) -> f64 {
    ticks as f64 / TICKS_PER_USD as f64
}

/// Reads a field that is there, so that "absent" (keep it) and "null" (unlimited, never) differ. Use with
/// `#[serde(default, deserialize_with = "…")]`.
///
/// # Errors
/// What reading `T` answers.
pub fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_reads_what_older_scripts_send_and_refuses_what_they_got_wrong() {
        let read = |json: &str| serde_json::from_str::<Limit>(json).map(|limit| limit.0);
        for unlimited in ["-1", "null", "\"\"", "-7", "\"-1\"", "-1.0"] {
            assert_eq!(read(unlimited).unwrap(), None, "{unlimited}");
        }
        assert_eq!(read("0").unwrap(), Some(0));
        assert_eq!(read("12").unwrap(), Some(12));
        assert_eq!(read("12.0").unwrap(), Some(12));
        assert_eq!(read("\"12\"").unwrap(), Some(12));
        for wrong in ["\"many\"", "1.5", "true", "[]", "{}", "1e300"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_budget_is_held_in_ticks() {
        let read = |json: &str| serde_json::from_str::<UsdLimit>(json).map(|limit| limit.0);
        assert_eq!(read("2.5").unwrap(), Some(25_000_000_000));
        assert_eq!(read("0").unwrap(), Some(0));
        assert_eq!(read("null").unwrap(), None);
        assert_eq!(read("-1").unwrap(), None);
        assert!(read("1e9").is_err());
        assert!(read("\"2\"").is_err());
        assert_eq!(serde_json::to_string(&UsdLimit(Some(25_000_000_000))).unwrap(), "2.5");
        assert_eq!(serde_json::to_string(&UsdLimit(None)).unwrap(), "-1");
    }
}
