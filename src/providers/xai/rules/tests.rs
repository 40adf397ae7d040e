use super::*;

#[test]
fn globs() {
    for (wanted, text, matches) in [
        ("grok-4*", "grok-4.6", true),
        ("grok-4*", "grok-4", true),
        ("grok-4*", "grok-3", false),
        ("*", "", true),
        ("", "", true),
        ("", "a", false),
        ("g?ok", "grok", true),
        ("g?ok", "gok", false),
        ("*-mini*fast", "grok-3-mini-x-fast", true),
        ("*-mini*fast", "grok-3-mini-x-fast2", false),
        ("a*b*c", "aXbYbZc", true),
        ("é*", "éa", true),
    ] {
        assert_eq!(glob(wanted, text), matches, "{wanted} {text}");
    }
    let hostile = "a*".repeat(200) + "b";
    assert!(!glob(&hostile, &"a".repeat(5000)));
}

#[test]
fn rules_that_cannot_be() {
    let broken = RuleSpec {
        text: Some("(".to_owned()),
        ..RuleSpec::default()
    };
    let good = RuleSpec {
        status: Some(400),
        ..RuleSpec::default()
    };
    let error = Rules::compile(vec![good.clone(), broken], vec![]).unwrap_err();
    assert_eq!(error.index, 1);
    assert!(
        error
            .to_string()
            .starts_with("rule 2: `text` is not a regular expression"),
        "{error}"
    );
    let everything = RuleSpec {
        retry: Some(true),
        ..RuleSpec::default()
    };
    assert!(Rules::compile(vec![everything], vec![]).is_err());
    let huge = RuleSpec {
        text: Some("(a{1000}){1000}".to_owned()),
        ..RuleSpec::default()
    };
    assert!(
        Rules::compile(vec![huge], vec![]).is_err(),
        "an automaton that would eat the memory"
    );
    assert!(Rules::compile(vec![good], vec![]).is_ok());
}
