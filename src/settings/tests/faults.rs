use super::*;

#[test]
fn every_fault_names_line_key_and_mend() {
    for (text, expected) in [
        (
            "[server]\nport = \"8000\"",
            "config.toml:2:1: server.port: expected a whole number, found the text \"8000\". Write a whole number between 0 and 65535, without quotes.",
        ),
        (
            "[server]\n  port = 70000",
            "config.toml:2:3: server.port: 70000 is out of range. Write a whole number between 0 and 65535.",
        ),
        (
            "[server]\ngrace_secs = -1",
            "config.toml:2:1: server.grace_secs: -1 is out of range. Write a whole number between 0 and 86400.",
        ),
        (
            "[server]\nprot = 1",
            "config.toml:2:1: server.prot: unknown key. Did you mean port?",
        ),
        (
            "[server]\nmaster_key = \"x\"",
            "config.toml:2:1: server.master_key: unknown key. It belongs under [security].",
        ),
        (
            "[server]\nqwertyuiop = 1",
            "config.toml:2:1: server.qwertyuiop: unknown key. Take it out; `grok2api example-config` shows every key.",
        ),
        (
            "[sever]\nport = 1",
            "config.toml:1:2: sever: unknown section. Did you mean [server]?",
        ),
        (
            "max_body_mb = 1",
            "config.toml:1:1: max_body_mb: unknown section. It belongs under [server].",
        ),
        (
            "server = 1",
            "config.toml:1:1: server: expected a section, found integer. Write [server] on a line of its own, its keys below.",
        ),
        (
            "[[server]]\nport = 1",
            "config.toml:1:3: server: expected a section, found array of tables. Write [server] on a line of its own, its keys below.",
        ),
        (
            "[server.port]\nx = 1",
            "config.toml:1:9: server.port: expected a value, found table. Write port = … under [server].",
        ),
        (
            "[server]\nhost = 1",
            "config.toml:2:1: server.host: expected a text, found the number 1. Put it in double quotes.",
        ),
        (
            "[server]\nhost = \"a b\"",
            "config.toml:2:1: server.host: \"a b\" is not an address to listen on. Write an IP address such as 127.0.0.1 or ::, or a host name; the port has its own key.",
        ),
        (
            "[server]\nhost = \"127.0.0.300\"",
            "\"127.0.0.300\" is not an address to listen on.",
        ),
        (
            "[server]\nhost = \"127.0.0.1:80\"",
            "\"127.0.0.1:80\" is not an address to listen on.",
        ),
        (
            "[server]\ntrusted_proxies = \"10.0.0.1\"",
            "server.trusted_proxies: expected a list, found the text \"10.0.0.1\". Write it in brackets, such as trusted_proxies = [\"a\", \"b\"].",
        ),
        (
            "[server]\ntrusted_proxies = [\"10.0.0.0/33\"]",
            "\"10.0.0.0/33\" is neither an IP address nor a network.",
        ),
        (
            "[server]\ntls_cert = \"a.pem\"",
            "config.toml:2:1: server.tls_cert: is set and server.tls_key is not. Set server.tls_key too, or neither to speak plain HTTP.",
        ),
        (
            "[server]\ntls_cert = \"/etc/passwd\"\ntls_key = \"/no/b.pem\"",
            "config.toml:3:1: server.tls_key: there is no file \"/no/b.pem\". Name a PEM file that this user can read.",
        ),
        (
            "[security]\nallow_anonymous = \"yes\"",
            "security.allow_anonymous: expected true or false, found the text \"yes\". Write true or false, without quotes.",
        ),
        (
            "[security]\nmaster_key = \"short\"",
            "security.master_key: has fewer than 16 characters. Use 64 hexadecimal digits",
        ),
        (
            "[app]\napp_key = \"same-secret\"\napi_key = \"same-secret\"",
            "config.toml:3:1: app.api_key: is the admin password (app.app_key) too.",
        ),
        (
            "[app]\nimage_format = \"png\"",
            "app.image_format: \"png\" is not one of its values. Write one of url, base64, b64_json.",
        ),
        (
            "[app]\napp_url = \"ai.example.org\"",
            "app.app_url: \"ai.example.org\" is not an address that can be used here. It begins with http:// or https://",
        ),
        (
            "[xai]\nproxy = \"ftp://u:geheim@h:1\"",
            "xai.proxy: \"ftp://…@h:1\" is not an address that can be used here.",
        ),
        (
            "[xai]\nforward_headers = [\"Authorization\"]",
            "the header authorization is never passed on.",
        ),
        (
            "[xai]\nforward_headers = [\"x y\"]",
            "\"x y\" is not the name of a header.",
        ),
        (
            "[grok]\nretry_status_codes = [200]",
            "grok.retry_status_codes: 200 is out of range. Write a whole number between 400 and 599.",
        ),
        (
            "[grok]\nretry_status_codes = [\"429\"]",
            "grok.retry_status_codes: expected a whole number, found the text \"429\".",
        ),
        (
            "[clients]\naffinity_max_share = 1.5",
            "clients.affinity_max_share: 1.5 is out of range. Write a number between 0 and 1.",
        ),
        (
            "[telemetry]\nlog_level = \"loud\"",
            "telemetry.log_level: \"loud\" is not a log level. Write error, warn, info, debug or trace",
        ),
        (
            "config_version = 2",
            "config.toml:1:1: config_version: 2 is of a newer grok2api than this one, which knows 1.",
        ),
        (
            "config_version = \"1\"",
            "config_version: expected the number 1. Write config_version = 1.",
        ),
        (
            "[server]\nport = 1\nport = 2",
            "config.toml:3:1: this is not TOML (duplicate key",
        ),
        ("[server\n", "config.toml:1:8: this is not TOML ("),
        (
            "[[xai.teams]]\nlimits = { \"*\" = { rpm = 1 } }",
            "config.toml:1:1: xai.teams[0]: the team has neither id nor keys.",
        ),
        (
            "[[xai.teams]]\nid = \"a\"\n[[xai.teams]]\nid = \"a\"",
            "config.toml:4:1: xai.teams[1].id: \"a\" is the id of xai.teams[0] too. Put the limits of one team into one table.",
        ),
        (
            "[[xai.teams]]\nkeys = [\"a\"]\n[[xai.teams]]\nkeys = [\"b\", \"a\"]",
            "config.toml:4:1: xai.teams[1].keys: \"a\" is a key of xai.teams[0] too.",
        ),
        (
            "[[xai.teams]]\nid = \"a\"\n[xai.teams.limits.\"grok-4*\"]\nrpm = -3",
            "config.toml:4:1: xai.teams[0].limits.\"grok-4*\".rpm: -3 is out of range.",
        ),
        (
            "[[xai.teams]]\nid = \"a\"\n[xai.teams.limits.\"grok-4*\"]\nrmp = 3",
            "config.toml:4:1: xai.teams[0].limits.\"grok-4*\".rmp: unknown key. Did you mean rpm?",
        ),
        (
            "[[xai.teams]]\nid = \"a\"\nlimits = 3",
            "config.toml:3:1: xai.teams[0].limits: expected tables, found integer. Write [xai.teams.limits.\"grok-4*\"].",
        ),
        (
            "[[xai.teams]]\nid = \"a\"\n[xai.teams.limits]\nrpm = 3",
            "config.toml:4:1: xai.teams[0].limits.\"rpm\": expected a table, found integer. Put keys such as rps, rpm, rph under it.",
        ),
        (
            "[xai.teams]\nid = \"a\"",
            "config.toml:1:6: xai.teams: expected tables, found table. Write [[xai.teams]].",
        ),
        (
            "[[xai.rules]]\nretry = true",
            "config.toml:1:1: xai.rules[0]: the rule has no condition and would match every answer.",
        ),
        (
            "[[xai.rules]]\ntext = \"(\"",
            "config.toml:2:1: xai.rules[0].text: \"(\" is not a regular expression (unclosed group).",
        ),
        (
            "[[xai.rules]]\nstatus = 500\ncool = \"everybody\"",
            "xai.rules[0].cool: \"everybody\" is not one of its values. Write one of none, token, token_model, team_model, team.",
        ),
        (
            "[[xai.rules]]\nstatus = 500\nfor_secs = 5",
            "config.toml:3:1: xai.rules[0].for_secs: is set, and cool is none.",
        ),
    ] {
        let error = load_text(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}\n  {error}\n  {expected}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let error = load_text("[server]\nprot = 1\nhost = 2\n[clients]\nmax_wait_ms = \"soon\"\n").unwrap_err();
    let keys: Vec<_> = error.problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["server.prot", "server.host", "clients.max_wait_ms"]);
}

#[test]
fn a_secret_in_a_fault_or_warning_is_not_shown() {
    let wrong_type = load_text("[app]\napp_key = 123456").unwrap_err().to_string();
    assert!(!wrong_type.contains("123456"), "{wrong_type}");
    let weak = load_text("config_version = 1\n[app]\napp_key = \"pa55\"").unwrap();
    assert!(
        weak.warnings
            .iter()
            .any(|line| line.contains("app.app_key") && !line.contains("pa55"))
    );
    assert!(!format!("{:?}", Environment::of([("A", "geheim")])).contains("geheim"));
}

#[test]
fn faults_of_the_environment_name_the_variable() {
    for (name, value, expected) in [
        (
            "GROK2API__SERVER__PORT",
            "x",
            "environment variable GROK2API__SERVER__PORT: server.port: expected a whole number, found the text \"x\".",
        ),
        (
            "SERVER_PORT",
            "99999",
            "environment variable SERVER_PORT: server.port: 99999 is out of range.",
        ),
        (
            "GROK2API__SERVER__PROT",
            "1",
            "environment variable GROK2API__SERVER__PROT: server.prot: unknown key. Did you mean GROK2API__SERVER__PORT?",
        ),
        ("GROK2API__server__port", "1", "Did you mean GROK2API__SERVER__PORT?"),
        (
            "GROK2API__XAI__TEAMS",
            "teamA",
            "environment variable GROK2API__XAI__TEAMS: xai.teams: the list cannot be read. Write TOML",
        ),
        (
            "GROK2API__XAI__TEAMS",
            "[{ limits = 1 }]",
            "environment variable GROK2API__XAI__TEAMS: xai.teams[0].limits: expected tables, found integer.",
        ),
        (
            "GROK2API__SECURITY__ALLOW_ANONYMOUS",
            "maybe",
            "security.allow_anonymous: expected true or false",
        ),
        (
            "GROK2API__SERVER__TLS_KEY",
            "k.pem",
            "environment variable GROK2API__SERVER__TLS_KEY: server.tls_key: is set and server.tls_cert is not.",
        ),
    ] {
        let error = load_env(&[(name, value)]).expect_err(name).to_string();
        assert!(error.contains(expected), "{error}\n{expected}");
    }
}
