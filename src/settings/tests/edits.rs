use super::*;

#[test]
fn an_edit_changes_its_lines_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let file = load(&args(&dir)).unwrap().file;
    edit(
        &file,
        &[
            ("server.port", json!(9000)),
            ("app.app_key", json!("quite \"long\" \\ and\nodd")),
            ("grok.stream", json!(true)),
            ("server.trusted_proxies", json!(["10.0.0.0/8"])),
            ("server.drain_delay_secs", json!(3)),
        ],
    )
    .unwrap();
    let expected = example_file()
        .replace("# port = 8000", "port = 9000")
        .replace("# app_key = \"\"", "app_key = '''\nquite \"long\" \\ and\nodd'''")
        .replace("# stream = false", "stream = true")
        .replace("# trusted_proxies = []", "trusted_proxies = [\"10.0.0.0/8\"]")
        .replace("# drain_delay_secs =", "drain_delay_secs = 3");
    assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    let config = load(&args(&dir)).unwrap().config;
    assert_eq!(config.app.app_key.expose(), "quite \"long\" \\ and\nodd");
    assert!(config.grok.stream);

    edit(
        &file,
        &[("app.app_key", json!(Secret::MASK)), ("server.port", json!(null))],
    )
    .unwrap();
    let config = load(&args(&dir)).unwrap().config;
    assert_eq!(
        config.app.app_key.expose(),
        "quite \"long\" \\ and\nodd",
        "a mask changes nothing"
    );
    assert_eq!(config.server.port, 8000);
    assert!(
        fs::read_to_string(&file).unwrap().contains("\n# port = 8000\n"),
        "back to a comment"
    );
}

#[test]
fn an_edit_keeps_what_a_person_wrote() {
    let text = "# mine\n[server] # the door\nport = 1 # odd\n\n[clients]\n\nmax_wait_ms = 5\n";
    let dir = data_dir(text);
    let file = dir.path().join(FILE_NAME);
    edit(
        &file,
        &[
            ("server.port", json!(2)),
            ("server.host", json!("::1")),
            ("clients.max_wait_ms", json!(6)),
            ("grok.stream", json!(true)),
        ],
    )
    .unwrap();
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        "# mine\n[server] # the door\nhost = \"::1\"\nport = 2 # odd\n\n[clients]\n\nmax_wait_ms = 6\n\n[grok]\nstream = true\n"
    );
    let inline = data_dir("server.port = 1\nclients = { max_wait_ms = 5 }\n");
    let file = inline.path().join(FILE_NAME);
    edit(
        &file,
        &[
            ("server.host", json!("::1")),
            ("clients.affinity_secs", json!(1)),
            ("server.port", json!(null)),
        ],
    )
    .unwrap();
    let config = load(&args(&inline)).unwrap().config;
    assert_eq!((config.server.host.as_str(), config.server.port), ("::1", 8000));
    assert_eq!((config.clients.max_wait_ms, config.clients.affinity_secs), (5, 1));
}

#[test]
fn an_edit_sets_teams_and_takes_them_away() {
    let dir = tempfile::tempdir().unwrap();
    let file = load(&args(&dir)).unwrap().file;
    let teams = json!([
        { "id": "a", "keys": [], "limits": { "grok-4*": { "rpm": 5, "rps": null }, "*": { "usd_per_day": 1.5 } } },
        { "keys": ["b"], "limits": { "*": { "tpm": 7 } } },
    ]);
    edit(&file, &[("xai.teams", teams)]).unwrap();
    let read = load(&args(&dir)).unwrap().config.xai.teams;
    assert_eq!(read.len(), 2);
    assert_eq!(read[0].limits["grok-4*"].rpm, Some(5));
    assert_eq!(read[0].limits["*"].usd_per_day, Some(1.5));
    assert_eq!(read[1].limits["*"].tpm, Some(7));
    for none in [json!([]), json!(null)] {
        edit(&file, &[("xai.teams", none)]).unwrap();
        assert_eq!(load(&args(&dir)).unwrap().config, Config::default());
    }
}

#[test]
fn a_wrong_edit_writes_nothing() {
    let dir = data_dir("[server]\nport = 1\n");
    let file = dir.path().join(FILE_NAME);
    for (key, value, expected) in [
        ("server.port", json!("x"), "server.port: expected a whole number"),
        ("server.prot", json!(1), "server.prot: unknown key"),
        (
            "grok.dynamic_statsig",
            json!(true),
            "anti-bot values are not forged here",
        ),
        ("server.tls_cert", json!("a.pem"), "server.tls_key is not"),
        ("server.trusted_proxies", json!([null]), "null inside"),
    ] {
        let error = edit(&file, &[("server.grace_secs", json!(1)), (key, value)]).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "[server]\nport = 1\n");
    }
}

#[test]
fn an_edit_makes_an_older_file_ours() {
    let dir = data_dir(OLDER_FILE);
    let file = dir.path().join(FILE_NAME);
    edit(&file, &[("cache.limit_mb", json!(5))]).unwrap();
    let config = load(&args(&dir)).unwrap().config;
    assert!(!config.grok.stream && config.app.app_key.is_empty());
    edit(&file, &[("grok.stream", json!(true))]).unwrap();
    let config = load(&args(&dir)).unwrap().config;
    assert!(config.grok.stream, "set by the operator himself");
    assert_eq!(config.cache.limit_mb, 5);
}
