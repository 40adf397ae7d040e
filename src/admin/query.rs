//! Query strings: names may be repeated, and lists may be written with commas.

use std::str::FromStr;

use crate::engine::error::GatewayError;
use crate::ops::{ROWS, rows};

/// The parameters of a request.
#[derive(Debug, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// The parameters in a query string.
    pub fn of(text: &str) -> Query {
        let pairs = text
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decoded(name), decoded(value))
            })
            .collect();
        Query { pairs }
    }

    /// Every parameter with its last value; blank ones count as not sent.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.trim()))
            .filter(|(_, value)| !value.is_empty())
    }

    /// Whether one of these was sent.
    pub fn has_any(&self, names: &[&str]) -> bool {
        self.pairs.iter().any(|(name, _)| names.contains(&name.as_str()))
    }

    /// The last value of a name; a blank one counts as not sent.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .rev()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.trim())
            .filter(|value| !value.is_empty())
    }

    /// All values of a name, those with commas taken apart.
    pub fn list(&self, name: &str) -> Vec<&str> {
        self.pairs
            .iter()
            .filter(|(other, _)| other == name)
            .flat_map(|(_, value)| value.split(','))
            .map(str::trim)
            .filter(|value| !value.is_empty())
            .collect()
    }

    /// All values of a name, each of a closed set.
    ///
    /// # Errors
    /// `InvalidField` that names the parameter and what it takes.
    pub fn words<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, GatewayError> {
        self.list(name)
            .into_iter()
            .map(|word| read(word).ok_or_else(|| wrong(name, expected)))
            .collect()
    }

    /// A value that is written as `T` prints it.
    ///
    /// # Errors
    /// `InvalidField`.
    pub fn parsed<T: FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>, GatewayError> {
        self.text(name)
            .map(|text| text.parse::<T>().map_err(|_| wrong(name, expected)))
            .transpose()
    }

    /// `true` or `false` (also 1 and 0); not sent = false.
    ///
    /// # Errors
    /// `InvalidField`.
    pub fn flag(&self, name: &str) -> Result<bool, GatewayError> {
        match self.text(name) {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(_) => Err(wrong(name, "true or false")),
        }
    }

    /// Rows of a page, from `limit`.
    ///
    /// # Errors
    /// `InvalidField`.
    pub fn rows(&self) -> Result<usize, GatewayError> {
        let limit = self.parsed::<u64>("limit", "a whole number from 1 to 1000")?;
        rows(limit, ROWS)
    }

    /// A time in Unix seconds or milliseconds (told apart by their size), as milliseconds.
    ///
    /// # Errors
    /// `InvalidField`.
    pub fn time_ms(&self, name: &str) -> Result<Option<u64>, GatewayError> {
        /// Larger numbers are milliseconds: as seconds this is the year 5138.
        const SECONDS_END: u64 = 100_000_000_000;
        let time = self.parsed::<u64>(name, "a time in Unix seconds or milliseconds")?;
        Ok(time.map(|time| if time < SECONDS_END { time * 1000 } else { time }))
    }
}

/// A parameter that is not what it takes.
pub fn wrong(name: &str, expected: &str) -> GatewayError {
    GatewayError::field(name, format!("`{name}` must be {expected}."))
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => match after.get(..2).and_then(hex) {
                Some(byte) => {
                    bytes.push(byte);
                    rest = after.get(2..).unwrap_or_default();
                }
                None => bytes.push(b'%'),
            },
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    match digits {
        [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_encode_is_decoded() {
        let query = Query::of("a=1+2%20%C3%BC&b=x,y&b=z&c&d=%zz&e=%4&f=");
        assert_eq!(query.text("a"), Some("1 2 ü"));
        assert_eq!(query.list("b"), ["x", "y", "z"]);
        assert_eq!((query.text("c"), query.text("f"), query.text("g")), (None, None, None));
        assert!(query.has_any(&["c"]) && !query.has_any(&["g"]));
        assert_eq!((query.text("d"), query.text("e")), (Some("%zz"), Some("%4")));
        assert!(Query::of("limit=0").rows().is_err());
        assert!(Query::of("limit=1001").rows().is_err());
        assert!(Query::of("limit=x").rows().is_err());
        assert_eq!(
            Query::of("since=1700000000").time_ms("since").unwrap(),
            Some(1_700_000_000_000)
        );
        assert_eq!(
            Query::of("since=1700000000000").time_ms("since").unwrap(),
            Some(1_700_000_000_000)
        );
    }

    proptest::proptest! {
        #[test]
        fn no_query_string_panics(text in ".{0,60}") {
            let _ = Query::of(&text);
        }
    }
}
