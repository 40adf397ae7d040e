mod edits;
mod faults;
mod sources;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use grok2api_schemas::config::{Cool, ImageFormat};
use serde_json::json;
use tempfile::TempDir;

use super::*;

/// A data directory with this file in it.
fn data_dir(text: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE_NAME), text).unwrap();
    dir
}

fn args(dir: &TempDir) -> LoadArgs {
    LoadArgs {
        data_dir: dir.path().to_owned(),
        ..LoadArgs::default()
    }
}

fn load_text(text: &str) -> Result<Loaded, SettingsError> {
    load(&args(&data_dir(text)))
}

fn load_env(pairs: &[(&str, &str)]) -> Result<Loaded, SettingsError> {
    let dir = tempfile::tempdir().unwrap();
    load(&LoadArgs {
        environment: Environment::of(pairs.iter().copied()),
        ..args(&dir)
    })
}

/// The defaults of the older project, as it writes them into every file.
const OLDER_FILE: &str = include_str!("older.toml");

#[test]
fn the_example_is_the_golden_file() {
    const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/settings/tests/example.toml");
    let example = example_file();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(GOLDEN, &example).unwrap();
    }
    assert_eq!(
        fs::read_to_string(GOLDEN).unwrap(),
        example,
        "run this test with UPDATE_GOLDEN=1 and read the difference"
    );
    assert!(example.lines().all(|line| line.chars().count() <= 130));
}

#[test]
fn a_first_start_writes_the_file_for_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("new/data");
    let args = LoadArgs {
        data_dir: data.clone(),
        ..LoadArgs::default()
    };
    assert!(check(&args).unwrap().first_start);
    assert!(!data.exists(), "a check writes nothing");
    let first = load(&args).unwrap();
    assert!(first.first_start);
    assert_eq!(first.config, Config::default());
    assert_eq!(fs::read_to_string(&first.file).unwrap(), example_file());
    assert_eq!(first.file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "no temporary file stays");
    let second = load(&args).unwrap();
    assert!(!second.first_start);
}

#[test]
fn a_broken_file_is_never_touched() {
    for broken in [
        "[server\nport = 1",
        "[server]\nport = \"x\"\n",
        "app_key = \"line\nbreak\"",
        "[servr]\n",
    ] {
        let dir = data_dir(broken);
        load(&args(&dir)).unwrap_err();
        edit(&dir.path().join(FILE_NAME), &[("server.port", json!(1))]).unwrap_err();
        assert_eq!(fs::read_to_string(dir.path().join(FILE_NAME)).unwrap(), broken);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE_NAME), b"[app]\napp_url = \"\xff\"\n").unwrap();
    let error = load(&args(&dir)).unwrap_err().to_string();
    assert!(error.contains("config.toml:2:12: this is not UTF-8"), "{error}");
}

#[test]
fn teams_and_rules_are_read() {
    let text = r#"
        [xai]
        base_url = "http://127.0.0.1:9/v1/"
        [[xai.teams]]
        id = "teamA"
        [xai.teams.limits."grok-4*"]
        rpm = 60
        usd_per_day = 5
        [xai.teams.limits."*"]
        rps = 1
        [[xai.teams]]
        keys = ["second", "xai-ab…wxyz"]
        limits = { "grok-3" = { concurrency = 0 } }
        [[xai.rules]]
        status = 403
        text = 'suspended \d+'
        retry = true
        cool = "team_model"
        for_secs = 60
    "#;
    let xai = load_text(text).unwrap().config.xai;
    assert_eq!(xai.base_url, "http://127.0.0.1:9/v1");
    let limits = xai.teams[0].limits_for("grok-4.7").unwrap();
    assert_eq!(
        (limits.rpm, limits.usd_per_day, limits.rps),
        (Some(60), Some(5.0), None)
    );
    assert_eq!(xai.teams[0].limits_for("grok-3").unwrap().rps, Some(1));
    assert_eq!(xai.teams[1].limits["grok-3"].concurrency, Some(0));
    assert_eq!(xai.rules[0].cool, Cool::TeamModel);
    assert_eq!((xai.rules[0].status, xai.rules[0].for_secs), (Some(403), Some(60)));
}

#[test]
fn a_file_of_the_older_project_is_read_with_its_habits_seen_through() {
    let loaded = load_text(OLDER_FILE).unwrap();
    assert_eq!(loaded.config, Config::default(), "its defaults are ours");
    let about = |key: &str| {
        loaded
            .warnings
            .iter()
            .filter(|line| line.contains(&format!(": {key}: ")))
            .count()
    };
    for dropped in config::dropped::DROPPED {
        assert_eq!(
            about(dropped.path),
            usize::from(dropped.path != "storage.type"),
            "{}",
            dropped.path
        );
    }
    assert_eq!((about("grok.stream"), about("app.app_key")), (1, 1));

    let decided = load_text(&format!("config_version = 1\n{OLDER_FILE}")).unwrap();
    assert!(decided.config.grok.stream);
    assert_eq!(decided.config.app.app_key.expose(), "admin");
    assert!(
        load_text("[grok]\nstream = true\n").unwrap().config.grok.stream,
        "set by the operator himself"
    );
}

#[test]
fn a_configured_file_must_be_there_and_others_must_not_read_its_secrets() {
    let dir = data_dir("[app]\napp_key = \"correct horse\"\n");
    let mut args = args(&dir);
    args.config_file = Some(dir.path().join("other.toml"));
    let error = load(&args).unwrap_err().to_string();
    assert!(
        error.contains("other.toml: there is no such file. `grok2api example-config`"),
        "{error}"
    );

    let file = dir.path().join(FILE_NAME);
    args.config_file = Some(file.clone());
    let open = |mode| {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        load(&args)
            .unwrap()
            .warnings
            .iter()
            .any(|line| line.contains("chmod 600"))
    };
    assert!(open(0o644) && !open(0o600));
}

#[test]
fn the_example_means_the_defaults_commented_or_not() {
    let commented = load_text(&example_file()).unwrap();
    assert_eq!(commented.config, Config::default());
    assert_eq!(commented.warnings, [] as [&str; 0]);

    let mut section = "";
    let mut taken = 0;
    let example = example_file();
    let mut live = String::new();
    for line in example.lines() {
        section = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(section);
        let default = config::keys().find(|spec| {
            let shown = spec.default.map(|default| format!("# {} = {default}", spec.key));
            spec.section == section && shown.as_deref() == Some(line)
        });
        taken += usize::from(default.is_some());
        live.push_str(if default.is_some() { &line[2..] } else { line });
        live.push('\n');
    }
    assert_eq!(taken, config::keys().filter(|spec| spec.default.is_some()).count());
    let live = load_text(&live).unwrap();
    assert_eq!(live.config, Config::default());
}
