//! Limits of teams and rules for answers: the arrays of tables under `[xai]`.

use super::spec::*;

section! {
    /// A team of the upstream, found by its id or by keys of it.
    pub struct TeamConfig in "xai.teams" {
        /// The team's id, as the API's /v1/api-key reports it.
        id: (text Any) = "";
        /// Instead of the id: labels or masked forms of keys of the team.
        keys: (texts Any) = [];
        /// Limits by model; "*" is every model that no other pattern names.
        limits: (table_map Limits) = unset;
    }
}

section! {
    /// Limits of a team for one model; what is not set is not limited here.
    pub struct Limits in "xai.teams.limits" {
        /// Requests per second.
        rps: (maybe int u64 0..=1000000000) = unset;
        /// Requests per minute.
        rpm: (maybe int u64 0..=1000000000) = unset;
        /// Requests per hour.
        rph: (maybe int u64 0..=1000000000) = unset;
        /// Requests per day (any 24 hours).
        rpd: (maybe int u64 0..=1000000000) = unset;
        /// Tokens per minute.
        tpm: (maybe int u64 0..=1000000000000) = unset;
        /// Calls at a time.
        concurrency: (maybe int u64 0..=1000000) = unset;
        /// Whether calls at a time hold even where a node is cut off from its cluster: it breaks its own calls off after 6 s,
        /// for the others count them for 8 s. Else they go on, and others may call beside them.
        concurrency_hard: (flag) = false;
        /// Spend per day of the reset time zone, in USD.
        usd_per_day: (maybe number 0.0..=100000000.0) = unset;
    }
}

choice! {
    /// Whom a rule cools.
    pub enum Cool {
        /// Nobody.
        Nobody = "none",
        /// The token, for every model.
        Token = "token",
        /// The token, for this model.
        TokenModel = "token_model",
        /// Every token of the team, for this model.
        TeamModel = "team_model",
        /// Every token of the team.
        Team = "team",
    }
}

section! {
    /// What to do about an answer of the upstream. Every condition that is set must hold; at least one must be set.
    pub struct Rule in "xai.rules" {
        /// The HTTP status.
        status: (maybe int u16 100..=599) = unset;
        /// A regular expression that finds something in the answer's text; upper and lower case are the same.
        text: (text Regex) = "";
        /// A model, or a pattern such as "grok-4*"; "?" stands for one letter.
        model: (text Any) = "";
        /// Whether another token is tried. Not set: as it would be without the rule.
        retry: (maybe flag) = unset;
        /// Whom to cool: none, token, token_model, team_model or team.
        cool: (choice Cool) = "none";
        /// For how long, in seconds. Not set: 60.
        for_secs: (maybe int u64 1..=2592000) = unset;
    }
}

impl TeamConfig {
    /// The limits for a model: of all patterns that match, the most exact. A name without `*` beats every pattern, then
    /// the longer text before the first `*` wins, then the longer pattern.
    pub fn limits_for(&self, model: &str) -> Option<&Limits> {
        self.limits
            .iter()
            .filter(|(pattern, _)| glob_matches(pattern, model))
            .max_by_key(|(pattern, _)| (exactness(pattern), pattern.len()))
            .map(|(_, limits)| limits)
    }
}

/// How exact a pattern is: the length of the text before its first `*`, or more than any when it has none.
pub fn exactness(pattern: &str) -> usize {
    pattern.find('*').unwrap_or(usize::MAX)
}

/// Whether `pattern`, in which `*` stands for any text, matches the whole of `name`.
pub fn glob_matches(pattern: &str, name: &str) -> bool {
    let Some((head, mut rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(head) else {
        return false;
    };
    while let Some((middle, after)) = rest.split_once('*') {
        match name.find(middle) {
            Some(at) => name = &name[at + middle.len()..],
            None => return false,
        }
        rest = after;
    }
    name.ends_with(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, name, matches) in [
            ("*", "grok-4.7", true),
            ("grok-4*", "grok-4.7", true),
            ("grok-4*", "grok-3", false),
            ("grok-4", "grok-4.7", false),
            ("*-mini", "grok-3-mini", true),
            ("*-mini", "grok-3-mini-fast", false),
            ("grok-*-0309-*", "grok-4.20-0309-reasoning", true),
            ("grok-*-0309-*", "grok-4.20-reasoning", false),
            ("a*a", "a", false),
            ("**", "", true),
        ] {
            assert_eq!(glob_matches(pattern, name), matches, "{pattern} on {name}");
        }
    }

    #[test]
    fn the_most_exact_pattern_wins_and_stands_alone() {
        let limit = |rpm| Limits {
            rpm: Some(rpm),
            ..Limits::default()
        };
        let team = TeamConfig {
            limits: [
                ("*", limit(1)),
                ("grok-4*", limit(2)),
                ("grok-4.7*", limit(3)),
                ("grok-4.7", limit(4)),
            ]
            .map(|(pattern, limits)| (pattern.to_owned(), limits))
            .into(),
            ..TeamConfig::default()
        };
        for (model, rpm) in [("grok-3", 1), ("grok-4.3", 2), ("grok-4.7-fast", 3), ("grok-4.7", 4)] {
            assert_eq!(
                team.limits_for(model).and_then(|limits| limits.rpm),
                Some(rpm),
                "{model}"
            );
        }
        assert_eq!(TeamConfig::default().limits_for("grok-4"), None);
    }
}
