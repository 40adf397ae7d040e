//! The commented file that is written at the first start. Every key stands in it as a comment with its default, so a
//! file that nobody edited follows the defaults of a newer version.

use std::fmt::Write;

use super::spec::{KeySpec, Kind};
use super::{CONFIG_VERSION, SECTIONS};

/// Column at which comments wrap.
const WIDTH: usize = 110;

const HEAD: &str = "\
# Configuration of grok2api. A line that begins with \"# key = \" shows a default: take the \"# \" away to change it.
# Flags beat the environment, the environment beats this file. Every key is also GROK2API__SECTION__KEY in the
# environment. `grok2api check-config` says whether the file is right. (restart) marks what a running node does not take over.
# In a cluster this file is read once, by the first node, and what counts from then on is kept in NATS for all nodes; only
# what is marked (each node) still comes from here.
";

const TEAMS: &str = r#"
# [[xai.teams]]
# id = "00000000-0000-0000-0000-000000000000"   # or: keys = ["label or masked key"]
# [xai.teams.limits."grok-4*"]                  # the most exact pattern counts alone
# rpm = 480
# tpm = 2000000
# [xai.teams.limits."*"]
# rps = 1
"#;

const RULES: &str = r#"
# [[xai.rules]]
# status = 403
# text = "temporarily suspended"
# retry = true
# cool = "token"
# for_secs = 600
"#;

/// The file.
pub fn example_file() -> String {
    let mut out = String::from(HEAD);
    let _ = writeln!(
        out,
        "# Tells this file from one of the older project, whose defaults are not taken for decisions of yours.\n\
         config_version = {CONFIG_VERSION}"
    );
    for section in SECTIONS {
        out.push('\n');
        wrap(&mut out, "", section.doc, "");
        let _ = writeln!(out, "[{}]", section.name);
        for spec in section.keys.iter().filter(|spec| !is_table(spec)) {
            out.push('\n');
            entry(&mut out, spec, spec.default);
        }
        // Tables end the list of a section's plain keys, so they come last.
        for spec in section.keys.iter().filter(|spec| is_table(spec)) {
            tables(&mut out, spec);
        }
    }
    out
}

fn is_table(spec: &KeySpec) -> bool {
    matches!(spec.kind, Kind::Tables(_) | Kind::TableMap(_))
}

/// Comment and commented default of one plain key.
fn entry(out: &mut String, spec: &KeySpec, default: Option<&str>) {
    let mut notes = String::new();
    if let Some(env) = spec.env {
        let _ = write!(notes, " (environment: {env})");
    }
    if spec.restart {
        notes.push_str(" (restart)");
    }
    if spec.local {
        notes.push_str(" (each node)");
    }
    wrap(out, "", spec.doc, &notes);
    let _ = match default {
        Some(default) => writeln!(out, "# {} = {default}", spec.key),
        None => writeln!(out, "# {} =", spec.key),
    };
}

/// Comment, keys and a sample of an array of tables.
fn tables(out: &mut String, spec: &KeySpec) {
    out.push('\n');
    wrap(out, "", spec.doc, "");
    if let Kind::Tables(keys) = spec.kind {
        for row in keys {
            wrap(out, "  ", &format!("{}: {}", row.key, row.doc), "");
            if let Kind::TableMap(keys) = row.kind {
                for cell in keys {
                    wrap(out, "    ", &format!("{}: {}", cell.key, cell.doc), "");
                }
            }
        }
    }
    let sample = match spec.key {
        "teams" => TEAMS,
        "rules" => RULES,
        _ => "",
    };
    out.push_str(sample.trim_start_matches('\n'));
}

/// `text` and `notes` as comment lines, each behind `indent`.
fn wrap(out: &mut String, indent: &str, text: &str, notes: &str) {
    let mut line = String::new();
    for word in text.split_whitespace().chain(notes.split_whitespace()) {
        if !line.is_empty() && line.len() + 1 + word.len() > WIDTH {
            let _ = writeln!(out, "# {indent}{line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(out, "# {indent}{line}");
}
