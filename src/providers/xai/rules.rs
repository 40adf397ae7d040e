//! Rules of the operator (`[[xai.rules]]`), asked before what we know of the upstream: they answer a changed upstream text
//! without a release.

use std::fmt;

use grok2api_schemas::token::CoolingCause;
use regex::{Regex, RegexBuilder};

use super::classify::{Class, CoolScope, CoolWhat, Retry, Verdict, client};

/// How long a rule cools where it does not say.
const DEFAULT_COOL_SECS: u64 = 60;
/// How much memory the automaton of one rule's text may take.
const REGEX_BYTES: usize = 1 << 20;

/// A rule as it is written. What is left out matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSpec {
    /// The upstream's HTTP status.
    pub status: Option<u16>,
    /// A regular expression, found anywhere in the upstream's body or its message; upper and lower case are one.
    pub text: Option<String>,
    /// The upstream's model, with `*` and `?`.
    pub model: Option<String>,
    /// Whether another token is tried; left out = as it would be without the rule.
    pub retry: Option<bool>,
    /// Who rests; left out = nobody.
    pub cool: Option<CoolScope>,
    /// For how long; left out = 60 s.
    pub for_secs: Option<u64>,
}

/// A rule that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// Which, from 0.
    pub index: usize,
    /// Why.
    pub message: String,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}: {}", self.index + 1, self.message)
    }
}

impl std::error::Error for RuleError {}

/// Rules, ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    retry_status_codes: Vec<u16>,
}

#[derive(Clone, Debug)]
struct Rule {
    spec: RuleSpec,
    text: Option<Regex>,
}

impl Rules {
    /// Compiles them. `retry_status_codes` (`grok.retry_status_codes`) can only add to what is retried.
    pub fn compile(specs: Vec<RuleSpec>, retry_status_codes: Vec<u16>) -> Result<Rules, RuleError> {
        let compile = |(index, spec): (usize, RuleSpec)| {
            let text = spec
                .text
                .as_deref()
                .map(|text| {
                    RegexBuilder::new(text)
                        .case_insensitive(true)
                        .size_limit(REGEX_BYTES)
                        .build()
                })
                .transpose()
                .map_err(|error| RuleError {
                    index,
                    message: format!("`text` is not a regular expression that can be used: {error}"),
                })?;
            if spec.status.is_none() && spec.text.is_none() && spec.model.is_none() {
                return Err(RuleError {
                    index,
                    message: "it would match every failure; give `status`, `text` or `model`".to_owned(),
                });
            }
            Ok(Rule { spec, text })
        };
        Ok(Rules {
            rules: specs.into_iter().enumerate().map(compile).collect::<Result<_, _>>()?,
            retry_status_codes,
        })
    }

    /// `verdict` as the first rule that matches changes it. `texts` are the upstream's words, in every form that an
    /// operator may have before him.
    pub(super) fn apply(&self, status: u16, texts: [&str; 2], model: &str, mut verdict: Verdict) -> Verdict {
        let matching = self.rules.iter().find(|rule| {
            rule.spec.status.is_none_or(|wanted| wanted == status)
                && rule.spec.model.as_deref().is_none_or(|wanted| glob(wanted, model))
                && rule
                    .text
                    .as_ref()
                    .is_none_or(|wanted| texts.iter().any(|text| wanted.is_match(text)))
        });
        if let Some(Rule { spec, .. }) = matching {
            verdict.cool = spec.cool.map(|scope| CoolWhat {
                scope,
                cause: CoolingCause::Operator,
                for_ms: Some(spec.for_secs.unwrap_or(DEFAULT_COOL_SECS).saturating_mul(1000)),
            });
            match spec.retry {
                Some(true) => {
                    if verdict.class == Class::ClientError {
                        // What the operator wants retried is a failure of the upstream, not of the request.
                        verdict.client = client::failed(status, None);
                    }
                    verdict.retry = match spec.cool {
                        Some(CoolScope::Team | CoolScope::TeamModel) => Retry::OtherTeam,
                        _ => Retry::OtherToken,
                    };
                }
                Some(false) => verdict.retry = Retry::No,
                None => {}
            }
            verdict.class = Class::Ruled;
            return verdict;
        }
        // A refusal of what the prompt asks is billed each time: the codes that the older project wrote into every file
        // (403 is one) must not multiply it. Whoever wants that writes a rule.
        let is_billed_refusal = verdict.class == Class::ClientError && verdict.maybe_executed;
        if verdict.retry == Retry::No && !is_billed_refusal && self.retry_status_codes.contains(&status) {
            verdict.retry = Retry::OtherToken;
        }
        verdict
    }
}

/// Whether `text` is what `wanted` describes, `*` standing for any characters and `?` for one. Linear in practice: only the
/// last `*` is ever gone back to.
pub fn glob(wanted: &str, text: &str) -> bool {
    let (wanted, text): (Vec<char>, Vec<char>) = (wanted.chars().collect(), text.chars().collect());
    let (mut at, mut read) = (0, 0);
    let mut star = None;
    while read < text.len() {
        match wanted.get(at) {
            Some('*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(&c) if c == '?' || Some(&c) == text.get(read) => {
                at += 1;
                read += 1;
            }
            _ => match star {
                Some((star_at, from)) => {
                    at = star_at + 1;
                    read = from + 1;
                    star = Some((star_at, read));
                }
                None => return false,
            },
        }
    }
    wanted.iter().skip(at).all(|&c| c == '*')
}

#[cfg(test)]
mod tests;
