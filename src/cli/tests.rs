use std::fs;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

fn command(arguments: &str) -> Command {
    let arguments = std::iter::once("grok2api").chain(arguments.split_whitespace());
    Cli::try_parse_from(arguments)
        .unwrap()
        .into_command(Environment::default)
}

#[test]
fn the_command_line_is_sound() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
}

#[test]
fn serving_is_what_is_done_without_a_word() {
    for arguments in [
        "--port 1 --host ::1 --data-dir d --config c",
        "serve --port 1 --host ::1 --data-dir d --config c",
        "--port 1 --data-dir d serve --config c --host ::1",
        "--port 2 --data-dir d serve --config c --host ::1 --port 1",
    ] {
        let Command::Serve { load, demo } = command(arguments) else {
            panic!("{arguments}");
        };
        assert_eq!(
            (load.port, load.host.as_deref(), demo),
            (Some(1), Some("::1"), false),
            "{arguments}"
        );
        assert_eq!(
            (load.data_dir.as_path(), load.config_file.as_deref()),
            (Path::new("d"), Some(Path::new("c")))
        );
    }
}

#[test]
fn a_demo_has_a_data_directory_of_its_own() {
    for (arguments, dir) in [
        ("", "data"),
        ("--demo", "data/demo"),
        ("serve --demo", "data/demo"),
        ("--demo serve", "data/demo"),
        ("--demo --data-dir x", "x"),
    ] {
        let Command::Serve { load, demo } = command(arguments) else {
            panic!("{arguments}");
        };
        assert_eq!(
            (load.data_dir.as_path(), demo),
            (Path::new(dir), arguments.contains("demo")),
            "{arguments}"
        );
    }
}

#[test]
fn other_commands() {
    assert!(
        matches!(command("check-config --data-dir d"), Command::CheckConfig { load } if load.data_dir == Path::new("d"))
    );
    assert!(matches!(command("--config c check-config"), Command::CheckConfig { load } if load.config_file.is_some()));
    assert!(matches!(command("example-config"), Command::ExampleConfig));
    assert!(matches!(command("health --url http://a"), Command::Health { url: Some(url), .. } if url == "http://a"));
    assert!(matches!(
        command("simulate --port 5"),
        Command::Simulate(Simulate {
            port: 5,
            scenario: None
        })
    ));
    for wrong in ["--port 70000", "serve now", "--prot 1", "health --demo"] {
        let arguments = std::iter::once("grok2api")
            .chain(wrong.split_whitespace())
            .map(OsString::from);
        assert!(Cli::try_parse_from(arguments).is_err(), "{wrong}");
    }
}

#[test]
fn a_configuration_is_checked_without_a_trace() {
    let dir = tempfile::tempdir().unwrap();
    let load = LoadArgs {
        data_dir: dir.path().to_owned(),
        ..LoadArgs::default()
    };
    assert_eq!(check_config(&load), ExitCode::SUCCESS);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    fs::write(dir.path().join("config.toml"), "[server]\nprot = 1\n").unwrap();
    assert_eq!(check_config(&load), ExitCode::from(USAGE));
    fs::write(dir.path().join("config.toml"), "").unwrap();
    fs::write(dir.path().join("models.toml"), "[[models]]\n").unwrap();
    assert_eq!(check_config(&load), ExitCode::from(USAGE));
}

#[test]
fn the_first_start_tells_what_opens_it_and_what_is_on() {
    let told = banner(&Facts {
        address: "http://127.0.0.1:8000".to_owned(),
        admin_username: "admin".to_owned(),
        admin_password: Some("correct-horse".to_owned()),
        client_key: Some("sk-battery".to_owned()),
        config_file: "data/config.toml".to_owned(),
        limits: vec!["2 teams".to_owned(), "anything".to_owned()],
        ..Facts::default()
    });
    for expected in [
        "correct-horse   (shown only now",
        "sk-battery   (shown only now",
        "none yet: set XAI_API_KEY",
        "off: this node works alone",
        "curl -N http://127.0.0.1:8000/v1/chat/completions",
        "Authorization: Bearer sk-battery",
        "\"model\": \"grok-4.7\"",
    ] {
        assert!(told.contains(expected), "{expected}\n{told}");
    }
    let open = banner(&Facts {
        anonymous: true,
        demo: true,
        tokens: 3,
        ..Facts::default()
    });
    assert!(open.contains("ON: everybody") && !open.contains("Authorization") && !open.contains("password"));
    assert!(banner(&Facts::default()).contains("Bearer $YOUR_CLIENT_KEY"));
}

/// A node that answers one question, and the question's head.
async fn node(answer: &'static str) -> (String, impl Future<Output = String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serve = async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 4096];
        let read = stream.read(&mut head).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        String::from_utf8_lossy(&head[..read]).into_owned()
    };
    (url, serve)
}

#[tokio::test]
async fn health_is_what_readyz_says() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Some((true, "{}"))),
        (
            "HTTP/1.1 503 No\r\nContent-Length: 5\r\n\r\nstore",
            Some((false, "store")),
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", None),
        ("what", None),
    ] {
        let (url, serve) = node(answer).await;
        let (told, asked) = tokio::join!(readiness(&url, ""), serve);
        assert!(asked.starts_with("GET /readyz HTTP/1.1\r\n"), "{asked}");
        let told = told.ok().map(|told| (told.ready, told.body));
        assert_eq!(told, expected.map(|(ready, body)| (ready, body.to_owned())), "{answer}");
    }
    let (url, serve) = node("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let url = format!("{url}/below/readyz");
    let (_, asked) = tokio::join!(readiness(&url, ""), serve);
    assert!(asked.starts_with("GET /below/readyz HTTP/1.1\r\n"), "{asked}");
    assert!(
        readiness("http://127.0.0.1:1", "")
            .await
            .unwrap_err()
            .starts_with("no connection")
    );
    assert!(readiness("ftp://a", "").await.unwrap_err().contains("http://"));
    assert!(readiness("https://127.0.0.1:1", "").await.is_err());
}

#[tokio::test]
async fn a_node_with_tls_is_known_by_its_certificate() {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    // Self-signed, for `gateway.test` and for nothing else in the world.
    const CERTIFICATE: &[u8] = include_bytes!("fixtures/gateway.pem");
    const KEY: &[u8] = include_bytes!("fixtures/gateway.key.pem");
    const OTHER: &[u8] = include_bytes!("fixtures/other.pem");
    let config = rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(CERTIFICATE).unwrap()],
            PrivateKeyDer::from_pem_slice(KEY).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let serve = async {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
    };
    let dir = tempfile::tempdir().unwrap();
    let ask = async {
        for (pem, known) in [(CERTIFICATE, true), (OTHER, false)] {
            let file = dir.path().join("certificate.pem");
            fs::write(&file, pem).unwrap();
            let told = readiness(&url, file.to_str().unwrap()).await;
            assert_eq!(told.as_ref().is_ok_and(|told| told.ready), known, "{told:?}");
        }
        // A machine without certificates of its own says so; no machine trusts this one.
        assert!(readiness(&url, "").await.is_err());
        assert!(
            readiness(&url, "/no/such.pem")
                .await
                .unwrap_err()
                .contains("cannot be read")
        );
    };
    tokio::select! {
        () = ask => {}
        () = serve => {}
    }
}
