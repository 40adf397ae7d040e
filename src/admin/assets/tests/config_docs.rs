//! What the panel says of the configuration in Chinese is what the code says of it in English.

use std::collections::{BTreeMap, BTreeSet};

use grok2api_schemas::config::SECTIONS;
use grok2api_schemas::config::spec::{KeySpec, Kind};
use regex::Regex;

use super::ours;

/// Every section, key and field of a key's rows, by path.
fn english() -> BTreeMap<String, &'static str> {
    fn add(found: &mut BTreeMap<String, &'static str>, keys: &'static [KeySpec]) {
        for spec in keys {
            found.insert(spec.path(), spec.doc.trim());
            if let Kind::Tables(rows) | Kind::TableMap(rows) = spec.kind {
                add(found, rows);
            }
        }
    }
    let mut found = BTreeMap::new();
    for section in SECTIONS {
        found.insert(section.name.to_owned(), section.doc.trim());
        add(&mut found, section.keys);
    }
    found
}

/// The texts of the file of that language.
fn translated(file: &str) -> BTreeMap<String, String> {
    let entry = Regex::new(r"^  '([\w.]+)': '((?:[^'\\]|\\.)*)',$").unwrap();
    let text = &ours()[file];
    let (_, table) = text.split_once("export default {\n").unwrap();
    let (table, _) = table.split_once("};\n").unwrap();
    let mut found = BTreeMap::new();
    for line in table.lines().filter(|line| !line.is_empty()) {
        let entry = entry
            .captures(line)
            .unwrap_or_else(|| panic!("not one text a line: {line}"));
        let twice = found.insert(entry[1].to_owned(), entry[2].to_owned());
        assert!(twice.is_none(), "{} stands twice", &entry[1]);
    }
    found
}

/// What stands in a text the same in every language: what is typed as it is, names of keys and files, numbers.
fn literals(text: &str) -> BTreeSet<String> {
    let exact = Regex::new(concat!(
        r#"`[^`]+`|"[^"]+""#,
        r"|[A-Za-z0-9*]+(?:[._][A-Za-z0-9*]+)+",
        r"|/[a-z0-9][a-z0-9/-]*|[A-Z][A-Za-z]*-[A-Z][A-Za-z]*|\d+"
    ))
    .unwrap();
    exact.find_iter(text).map(|found| found.as_str().to_owned()).collect()
}

/// Units and words for numbers, as each language writes them.
const WORDS: &[(&str, &str)] = &[
    (r"\bmilliseconds?\b|\d ms\b", "毫秒"),
    (r"\bseconds?\b|\d s\b", "(?:^|[^毫])秒"),
    (r"\bminutes?\b", "分钟"),
    (r"\bhours?\b", "小时"),
    (r"\b[Dd]ays?\b|\bdaily\b", "天|每日"),
    ("MiB", "MiB"),
    ("USD", "美元"),
    (r"\b[Tt]wo\b|\btwice\b", "两"),
    (r"\b[Tt]hree\b", "三"),
    (r"\b[Ff]our\b", "四"),
    (r"\b[Ff]ive\b", "五"),
    ("Not set:", "未设置："),
];

/// What one text says and the other does not.
fn drift(english: &str, chinese: &str) -> Vec<String> {
    let (here, there) = (literals(english), literals(chinese));
    let mut found: Vec<String> = here.symmetric_difference(&there).cloned().collect();
    for (english_word, chinese_word) in WORDS {
        let is_said = |word: &str, text| Regex::new(word).unwrap().is_match(text);
        if is_said(english_word, english) != is_said(chinese_word, chinese) {
            found.push(format!("{english_word} or {chinese_word}"));
        }
    }
    found
}

#[test]
fn every_key_is_told_in_chinese_with_its_figures() {
    let (english, chinese) = (english(), translated("strings/zh_config.js"));
    assert!(english.len() > 100, "{}", english.len());
    let mut faults = Vec::new();
    for (path, doc) in &english {
        match chinese.get(path) {
            None => faults.push(format!("{path} has no text: {doc}")),
            Some(text) => {
                let drift = drift(doc, text);
                if !drift.is_empty() {
                    faults.push(format!("{path} says otherwise: {drift:?}\n  {doc}\n  {text}"));
                }
                if !text.ends_with('。') {
                    faults.push(format!("{path} is no sentence: {text}"));
                }
            }
        }
    }
    let left_over = chinese.keys().filter(|path| !english.contains_key(*path));
    faults.extend(left_over.map(|path| format!("{path} is no key")));
    assert!(faults.is_empty(), "strings/zh_config.js:\n{}", faults.join("\n"));
}

#[test]
fn a_figure_or_literal_that_drifts_is_found() {
    let english = "Waits 30 s for `a_b`, five times, see xai.proxy. Not set: 60.";
    assert_eq!(
        drift(english, "等待 `a_b` 30 秒，五次，见 xai.proxy。未设置：60。"),
        Vec::<String>::new()
    );
    for wrong in [
        "等待 `a_b` 20 秒，五次，见 xai.proxy。未设置：60。",
        "等待 `a_b` 30 毫秒，五次，见 xai.proxy。未设置：60。",
        "等待 `b_a` 30 秒，五次，见 xai.proxy。未设置：60。",
        "等待 `a_b` 30 秒，三次，见 xai.proxy。未设置：60。",
        "等待 `a_b` 30 秒，五次，见 grok.proxy。未设置：60。",
        "等待 `a_b` 30 秒，五次，见 xai.proxy。未设置。",
        "等待 `a_b` 30 秒，五次，见 xai.proxy。未设置：60，至多 90。",
    ] {
        assert!(!drift(english, wrong).is_empty(), "{wrong}");
    }
}

#[test]
fn chinese_has_its_own_punctuation() {
    let mixed = Regex::new(
        r"[\x{3000}-\x{303f}\x{4e00}-\x{9fff}\x{ff00}-\x{ffef}][,:;?()]|[,:;?()][\x{3000}-\x{303f}\x{4e00}-\x{9fff}]",
    )
    .unwrap();
    for file in ["strings/zh.js", "strings/zh_config.js"] {
        let text = &ours()[file];
        let found: Vec<&str> = mixed.find_iter(text).map(|found| found.as_str()).collect();
        assert!(found.is_empty(), "{file}: {found:?}");
    }
}
