use super::*;

#[test]
fn flags_beat_the_environment_and_the_environment_beats_the_file() {
    let dir = data_dir("[server]\nhost = \"10.0.0.1\"\nport = 1\n[clients]\nmax_wait_ms = 7\n");
    let mut args = args(&dir);
    let server = |args: &LoadArgs| {
        let config = load(args).unwrap().config;
        (config.server.host, config.server.port, config.clients.max_wait_ms)
    };
    assert_eq!(server(&args), ("10.0.0.1".to_owned(), 1, 7));
    args.environment = Environment::of([("SERVER_HOST", "10.0.0.2"), ("GROK2API__SERVER__PORT", "2")]);
    assert_eq!(server(&args), ("10.0.0.2".to_owned(), 2, 7));
    args.host = Some("10.0.0.3".to_owned());
    args.port = Some(3);
    assert_eq!(server(&args), ("10.0.0.3".to_owned(), 3, 7));
    args.host = Some("not a host".to_owned());
    let error = load(&args).unwrap_err().to_string();
    assert!(error.starts_with("flag --host: server.host: "), "{error}");
}

#[test]
fn every_key_can_be_set_from_the_environment() {
    for spec in config::keys() {
        let text = match spec.default {
            Some(text) => text.trim_matches('"').to_owned(),
            None => continue,
        };
        let loaded = load_env(&[(&spec.env_name(), &text)]).unwrap();
        assert_eq!(loaded.config, Config::default(), "{}", spec.path());
    }
    let config = load_env(&[
        ("GROK2API__XAI__BASE_URL", "http://127.0.0.1:1/v1"),
        ("GROK2API__APP__API_KEY", "sk-client"),
        ("GROK2API__APP__IMAGE_FORMAT", "b64_json"),
        ("GROK2API__GROK__STREAM", "1"),
        ("GROK2API__GROK__RETRY_STATUS_CODES", "500, 502"),
        ("GROK2API__SERVER__TRUSTED_PROXIES", "10.0.0.0/8,::1"),
        ("GROK2API__SERVER__DRAIN_DELAY_SECS", "2"),
        (
            "GROK2API__XAI__TEAMS",
            r#"[{ id = "a", limits = { "*" = { rpm = 5 } } }]"#,
        ),
        ("GROK2API__CLIENTS__DEFAULT_RESERVATION_USD", "1"),
        ("GROK2API__SERVER__GRACE_SECS", ""),
        ("LOG_LEVEL", "WARNING"),
        ("NATS_URL", "nats://a:1, nats://b:2"),
        ("CACHE_RESET_TZ_OFFSET_MINUTES", "-60"),
        ("UNRELATED", "1"),
    ])
    .unwrap()
    .config;
    assert_eq!(config.xai.base_url, "http://127.0.0.1:1/v1");
    assert_eq!(config.app.api_key.expose(), "sk-client");
    assert_eq!(config.app.image_format, ImageFormat::B64Json);
    assert!(config.grok.stream);
    assert_eq!(config.grok.retry_status_codes, [500, 502]);
    assert_eq!(config.server.trusted_proxies, ["10.0.0.0/8", "::1"]);
    assert_eq!(config.server.drain_delay_secs, Some(2));
    assert_eq!(config.xai.teams[0].limits["*"].rpm, Some(5));
    assert_eq!(config.clients.default_reservation_usd, 1.0);
    assert_eq!(config.server.grace_secs, 300);
    assert_eq!(config.telemetry.log_level, "warn");
    assert_eq!(config.nats.url, "nats://a:1,nats://b:2");
    assert_eq!(config.clients.reset_tz_offset_minutes, -60);
}

#[test]
fn what_means_nothing_here_is_said_and_passed_over() {
    let loaded = load_env(&[
        ("SERVER_WORKERS", "4"),
        ("SERVER_STORAGE_TYPE", "redis"),
        ("GROK2API__GROK__DYNAMIC_STATSIG", "true"),
        ("CACHE_RESET_TZ_OFFSET_MINUTES", "9000"),
        ("SERVER_PORT", "1"),
        ("GROK2API__SERVER__PORT", "2"),
    ])
    .unwrap();
    assert_eq!(loaded.config.clients.reset_tz_offset_minutes, 840);
    assert_eq!(loaded.config.server.port, 2);
    for expected in [
        "environment variable SERVER_WORKERS: ignored: ",
        "environment variable SERVER_STORAGE_TYPE: ignored: ",
        "environment variable GROK2API__GROK__DYNAMIC_STATSIG: grok.dynamic_statsig: not taken over: ",
        "9000 is out of range, 840 is used",
        "environment variable SERVER_PORT: server.port: GROK2API__SERVER__PORT says otherwise and counts",
    ] {
        let said = loaded.warnings.iter().filter(|line| line.contains(expected)).count();
        assert_eq!(said, 1, "{expected}: {:?}", loaded.warnings);
    }
}

#[test]
fn dotenv_fills_in_and_never_overrides() {
    let dir = tempfile::tempdir().unwrap();
    let dotenv = dir.path().join(".env");
    fs::write(
        &dotenv,
        "SERVER_PORT=1\nexport SERVER_HOST='10.0.0.1'\nXAI_API_KEY=a\nwhat\n",
    )
    .unwrap();
    let environment = Environment::of([("SERVER_PORT", "2"), ("XAI_API_KEY", " xai-1, xai-2 ,")]).filled_from(&dotenv);
    let loaded = load(&LoadArgs {
        environment,
        ..args(&dir)
    })
    .unwrap();
    assert_eq!(loaded.config.server.port, 2);
    assert_eq!(loaded.config.server.host, "10.0.0.1");
    let enrol: Vec<_> = loaded.enrol.iter().map(Secret::expose).collect();
    assert_eq!(enrol, ["xai-1", "xai-2"]);
    assert!(loaded.warnings[0].ends_with(".env:4: not NAME=value, left out"));

    fs::write(&dotenv, "\nSERVER_PORT=x\n").unwrap();
    let environment = Environment::default().filled_from(&dotenv);
    let error = load(&LoadArgs {
        environment,
        ..args(&dir)
    })
    .unwrap_err();
    assert!(
        error
            .to_string()
            .contains(".env:2: variable SERVER_PORT: server.port: "),
        "{error}"
    );
}
