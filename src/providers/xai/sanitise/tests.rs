use proptest::prelude::*;

use super::*;

fn cleaned(text: &str) -> String {
    clean(text, "grok-4.6", "best", 1000)
}

#[test]
fn identifiers_are_taken_out() {
    for (text, wanted) in [
        (
            "Incorrect API key provided: xa***yz. You can obtain an API key from https://console.x.ai.",
            "Incorrect API key provided: [key] You can obtain an API key from the provider's console",
        ),
        ("Bad key xai-AbCdEf0123456789 here", "Bad key [key] here"),
        ("Bearer abc.def is wrong", "[key] is wrong"),
        (
            "session eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.sig- ended",
            "session [key] ended",
        ),
        (
            "Your team 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0 has no money",
            "Your team has no money",
        ),
        ("for team <team-uuid> and model grok-4.6.", "for team and model best."),
        ("for team teamA and model x", "for team and model x"),
        ("Ask team teamA.", "Ask team."),
        ("Team: abc, API key ID: def, Model: m", "Team, API key, Model: m"),
        ("team_id=abc; org: acme", "team; org"),
        (
            "See https://console.x.ai/team/abc/billing, please",
            "See the provider's console, please",
        ),
        (
            "request 0F1E2D3C-4b5a-6978-8796-a5b4c3d2e1f0 failed",
            "request [id] failed",
        ),
        ("hash 0123456789abcdef0123456789abcdef", "hash [id]"),
        ("mail me@example.com now", "mail [address] now"),
    ] {
        assert_eq!(cleaned(text), wanted);
    }
}

#[test]
fn sentences_stay_sentences() {
    for text in [
        "Your team's rate limit is low; the team has members.",
        "Argument not supported on this model: presencePenalty",
        "Please switch to the Agent Tools API: https://docs.x.ai/docs/guides/tools/overview",
        "messages[0]: missing field `role` at line 1 column 40",
        "grok-4.60 and grok-4.6-fast and xgrok-4.6 and grok-4.6.1 are others",
        "temperature must be <= 2",
    ] {
        assert_eq!(cleaned(text), text);
    }
}

#[test]
fn the_clients_name_of_the_model_is_shown() {
    assert_eq!(
        cleaned("grok-4.6: no. `grok-4.6`, (grok-4.6) and grok-4.6."),
        "best: no. `best`, (best) and best."
    );
    assert_eq!(clean("a a", "a", "a", 9), "a a");
    assert_eq!(clean("x", "", "b", 9), "x");
}

#[test]
fn one_line_of_bounded_length() {
    assert_eq!(cleaned(" a\n\n b\t\u{0}\u{7}c "), "a b c");
    assert_eq!(clean("ééééé", "m", "s", 3), "éé…");
    assert_eq!(clean("ééé", "m", "s", 3), "ééé");
    assert!(cleaned(&"word ".repeat(100_000)).chars().count() <= 1000);
}

proptest! {
    #[test]
    fn no_identifier_survives(before in "\\PC{0,20}", after in "\\PC{0,20}", id in "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}") {
        for text in [format!("{before} team {id} {after}"), format!("{before} {id} {after}"), format!("{before} team {id}.{after}")] {
            let said = cleaned(&text);
            prop_assert!(!said.contains(&id), "{}", said);
        }
        let said = cleaned(&format!("{before} xai-{id} {after}"));
        prop_assert!(!said.contains(&id), "{}", said);
    }
}
