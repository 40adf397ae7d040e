//! nginx in front, with pooled upstream connections, while one of two nodes goes away.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use grok2api::shutdown::{Outcome, Shutdown, ShutdownPlan, Signals};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::stand::{PATIENCE, Raw, Stand};

struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// nginx on `port` before both nodes; nothing where it is not installed.
fn nginx(directory: &Path, port: u16, nodes: [&Stand; 2]) -> Option<Nginx> {
    let [a, b] = nodes.map(|node| node.address);
    let at = directory.display();
    let config = format!(
        "daemon off;
master_process off;
pid {at}/pid;
error_log {at}/error.log warn;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {at}/body;
  proxy_temp_path {at}/proxy;
  fastcgi_temp_path {at}/fastcgi;
  uwsgi_temp_path {at}/uwsgi;
  scgi_temp_path {at}/scgi;
  upstream nodes {{ server {a} max_fails=0; server {b} max_fails=0; keepalive 32; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://nodes;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $http_host;
    }}
  }}
}}
"
    );
    let file = directory.join("nginx.conf");
    std::fs::write(&file, config).unwrap();
    let program = ["/usr/sbin/nginx", "nginx"].into_iter().find(|program| {
        Command::new(program)
            .arg("-v")
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    });
    let Some(program) = program else {
        println!("skipped: nginx is not installed here");
        return None;
    };
    let child = Command::new(program)
        .arg("-p")
        .arg(directory)
        .arg("-c")
        .arg(&file)
        .spawn()
        .unwrap();
    Some(Nginx(child))
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_with_pooled_connections_sees_no_reset_when_a_node_leaves() {
    let (leaving, staying) = (Stand::new().await, Stand::new().await);
    let directory = tempfile::tempdir().unwrap();
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let Some(_nginx) = nginx(directory.path(), port, [&leaving, &staying]) else {
        return;
    };
    let up = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, up).await.expect("nginx is up");

    let enough = Arc::new(AtomicBool::new(false));
    let tracker = tokio_util::task::TaskTracker::new();
    let mut clients = Vec::new();
    for client in 0..12u64 {
        let enough = enough.clone();
        clients.push(tracker.spawn(async move {
            let mut raw = Raw(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
            let mut answered = 0u32;
            while !enough.load(Ordering::Relaxed) {
                // POST: nginx repeats none that it has sent.
                raw.send("POST /length HTTP/1.1\r\nhost: h\r\ncontent-length: 7\r\n\r\n1234567")
                    .await;
                let answer = raw.until("\r\n\r\n7").await;
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
                answered += 1;
                tokio::time::sleep(Duration::from_millis(client % 5)).await;
            }
            answered
        }));
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    let plan = ShutdownPlan {
        drain_delay: Duration::from_millis(700),
        grace: Duration::from_secs(10),
    };
    let mut signals = Signals::listen().unwrap();
    signals.trigger().ask("the test");
    let shutdown = Shutdown::new(plan, leaving.readiness.clone(), leaving.handle.clone());
    let ended = timeout(PATIENCE, shutdown.run(&mut signals)).await.unwrap();
    assert_eq!(ended, Outcome::Clean);
    tokio::time::sleep(Duration::from_millis(300)).await;
    enough.store(true, Ordering::Relaxed);
    for client in clients {
        // Anything but a 200 panics in the client.
        assert!(timeout(PATIENCE, client).await.unwrap().unwrap() > 20);
    }
    assert!(
        leaving.handle.stats().accepted.load(Ordering::Relaxed) > 0,
        "it never got traffic"
    );
    let log = std::fs::read_to_string(directory.path().join("error.log")).unwrap_or_default();
    assert!(
        !log.contains("reset by peer") && !log.contains("prematurely closed"),
        "{log}"
    );
}
