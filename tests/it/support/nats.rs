//! Real nats-server processes with JetStream, on free ports of the loopback, their files in a directory that goes with them.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Where CI puts the pinned server.
const BINARY: &str = "GROK2API_TEST_NATS_SERVER";
/// Where CI puts Debian's server, which is too old.
const OLD_BINARY: &str = "GROK2API_TEST_OLD_NATS_SERVER";
/// Longer than any start takes on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// One server, or several that are one cluster.
pub struct NatsServers {
    servers: Vec<Server>,
    dir: tempfile::TempDir,
    binary: PathBuf,
}

struct Server {
    process: Option<Child>,
    client: u16,
    monitor: u16,
    config: PathBuf,
}

/// The server to test with: the one that CI pins, else the one on PATH. Without it a test is left out, and says so; in CI it
/// may not be.
pub fn binary() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(BINARY) {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "{BINARY}: there is no {}", path.display());
        return Some(path);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join("nats-server"))
        .find(|path| path.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI must set {BINARY}");
        eprintln!("LEFT OUT: no nats-server: set {BINARY} or put one on PATH (.ci/nats installs it)");
    }
    found
}

/// A server of Debian's, older than what we need. Without it a test is left out, and says so.
pub fn old_binary() -> Option<PathBuf> {
    let found = std::env::var_os(OLD_BINARY)
        .map(PathBuf::from)
        .filter(|path| path.is_file());
    if found.is_none() {
        eprintln!("LEFT OUT: no old nats-server: set {OLD_BINARY} (.ci/nats unpacks Debian's)");
    }
    found
}

impl NatsServers {
    /// A single server.
    pub async fn one() -> Option<NatsServers> {
        NatsServers::start(1, "").await
    }

    /// A cluster of three.
    pub async fn three() -> Option<NatsServers> {
        NatsServers::start(3, "").await
    }

    /// So many servers with these lines more in their configuration.
    pub async fn start(count: usize, more: &str) -> Option<NatsServers> {
        let binary = binary()?;
        Some(NatsServers::start_binary(binary, count, more).await)
    }

    /// So many servers of this binary.
    pub async fn start_binary(binary: PathBuf, count: usize, more: &str) -> NatsServers {
        NatsServers::start_sized(binary, count, more, "4GB").await
    }

    /// The same, whose JetStream keeps so much on disk.
    pub async fn start_sized(binary: PathBuf, count: usize, more: &str, max_file: &str) -> NatsServers {
        let dir = tempfile::tempdir().unwrap();
        let ports = free_ports(count * 3);
        let routes: Vec<String> = (0..count)
            .map(|n| format!("nats://127.0.0.1:{}", ports[n * 3 + 2]))
            .collect();
        let mut all = NatsServers {
            servers: Vec::new(),
            dir,
            binary,
        };
        for n in 0..count {
            let (client, monitor, route) = (ports[n * 3], ports[n * 3 + 1], ports[n * 3 + 2]);
            let files = all.dir.path().join(format!("n{n}"));
            std::fs::create_dir_all(&files).unwrap();
            let cluster = if count > 1 {
                format!(
                    "cluster {{ name: test, no_advertise: true, listen: \"127.0.0.1:{route}\", routes: [{}] }}\n",
                    routes.join(", ")
                )
            } else {
                String::new()
            };
            let config = files.join("server.conf");
            std::fs::write(
                &config,
                format!(
                    "server_name: n{n}\nlisten: \"127.0.0.1:{client}\"\nhttp: \"127.0.0.1:{monitor}\"\n\
                     jetstream {{ store_dir: {:?}, max_mem: 256MB, max_file: {max_file} }}\n{cluster}{more}\n",
                    files.join("js")
                ),
            )
            .unwrap();
            all.servers.push(Server {
                process: None,
                client,
                monitor,
                config,
            });
        }
        for n in 0..count {
            all.launch(n);
        }
        for n in 0..count {
            all.ready(n).await;
        }
        all
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.servers.len()
    }

    /// The addresses of all, with commas.
    pub fn url(&self) -> String {
        (0..self.count()).map(|n| self.url_of(n)).collect::<Vec<_>>().join(",")
    }

    /// The address of one.
    pub fn url_of(&self, n: usize) -> String {
        format!("nats://{}", self.address(n))
    }

    /// Where clients of one connect.
    pub fn address(&self, n: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.servers[n].client))
    }

    /// Their files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A page of a server's monitoring, such as `/varz`.
    pub async fn monitor(&self, n: usize, page: &str) -> serde_json::Value {
        let url = format!("{}{page}", SocketAddr::from(([127, 0, 0, 1], self.servers[n].monitor)));
        serde_json::from_slice(&get(&url).await.unwrap()).unwrap()
    }

    /// The server that leads a stream.
    pub async fn leader_of(&self, stream: &str) -> Option<usize> {
        for n in 0..self.count() {
            let page = self.monitor(n, "/jsz?streams=true").await;
            let accounts = page["account_details"].as_array().cloned().unwrap_or_default();
            for account in accounts {
                let streams = account["stream_detail"].as_array().cloned().unwrap_or_default();
                for detail in streams.iter().filter(|detail| detail["name"] == stream) {
                    if let Some(leader) = detail["cluster"]["leader"].as_str() {
                        return leader.strip_prefix('n').and_then(|n| n.parse().ok());
                    }
                }
            }
        }
        None
    }

    /// Ends one without warning.
    pub fn kill(&mut self, n: usize) {
        if let Some(mut process) = self.servers[n].process.take() {
            process.kill().ok();
            process.wait().ok();
        }
    }

    /// Ends one as an operator would.
    pub fn stop(&mut self, n: usize) {
        self.signal(n, "TERM");
        if let Some(mut process) = self.servers[n].process.take() {
            process.wait().ok();
        }
    }

    /// Stops the clock of one: it keeps its connections and answers nothing.
    pub fn pause(&self, n: usize) {
        self.signal(n, "STOP");
    }

    /// Lets it go on.
    pub fn resume(&self, n: usize) {
        self.signal(n, "CONT");
    }

    /// Starts one again on its old files and ports.
    pub async fn restart(&mut self, n: usize) {
        assert!(self.servers[n].process.is_none(), "stop it first");
        self.launch(n);
        self.ready(n).await;
    }

    /// Deletes what one has stored; it must be stopped.
    pub fn wipe(&self, n: usize) {
        assert!(self.servers[n].process.is_none(), "stop it first");
        std::fs::remove_dir_all(self.dir.path().join(format!("n{n}/js"))).ok();
    }

    fn signal(&self, n: usize, signal: &str) {
        if let Some(process) = &self.servers[n].process {
            let sent = Command::new("kill")
                .arg(format!("-{signal}"))
                .arg(process.id().to_string())
                .status();
            assert!(sent.unwrap().success(), "kill -{signal}");
        }
    }

    fn launch(&mut self, n: usize) {
        let server = &mut self.servers[n];
        let log = server.config.with_file_name("log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let process = Command::new(&self.binary)
            .arg("-c")
            .arg(&server.config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        server.process = Some(process.unwrap());
    }

    /// Waits until a server answers and, if it was made for it, its JetStream has a leader.
    async fn ready(&self, n: usize) {
        let monitor = SocketAddr::from(([127, 0, 0, 1], self.servers[n].monitor));
        let wait = async {
            while get(&format!("{monitor}/healthz")).await.is_none() {
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        };
        if tokio::time::timeout(SOON, wait).await.is_err() {
            let log = std::fs::read_to_string(self.servers[n].config.with_file_name("log")).unwrap_or_default();
            panic!("nats-server n{n} is not ready; its log:\n{log}");
        }
    }
}

impl Drop for NatsServers {
    fn drop(&mut self) {
        for n in 0..self.count() {
            self.kill(n);
        }
    }
}

/// Ports that nobody listens on, all different.
fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners
        .iter()
        .map(|listener| listener.local_addr().unwrap().port())
        .collect()
}

/// The body of a page, if the answer is 200: `host:port/path`.
async fn get(url: &str) -> Option<Vec<u8>> {
    let (host, path) = url.split_once('/')?;
    let (host, path) = (host.to_owned(), format!("/{path}"));
    let ask = move || {
        use std::io::Read;
        let mut stream = std::net::TcpStream::connect(&host).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let head = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
        answer.starts_with(b"HTTP/1.0 200").then(|| answer.split_off(head + 4))
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}
