//! A plain client and a simulator to call.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use grok2api_actors::clock::{Clock, ManualClock, WallMs};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::simulator::{RunningSimulator, Scenario, SimulatorOptions, serve};

/// A running simulator, its clock (which stands still) and a client.
pub struct Sim {
    pub running: RunningSimulator,
    pub time: Arc<ManualClock>,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Got {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    /// The `data:` payloads of an event stream.
    pub fn events(&self) -> Vec<String> {
        let text = self.text();
        text.split_terminator("\n\n")
            .map(|event| {
                event
                    .strip_prefix("data: ")
                    .unwrap_or_else(|| panic!("{event:?}"))
                    .to_owned()
            })
            .collect()
    }
}

impl Sim {
    /// Plays this scenario (JSON), without pauses unless it says otherwise, on a clock that stands still.
    pub async fn play(scenario: Value) -> Sim {
        let mut with_pace = json!({"pace_ms": 0, "first_token_ms": 0});
        for (name, value) in scenario.as_object().unwrap() {
            with_pace[name] = value.clone();
        }
        let scenario = Scenario::from_json(&with_pace.to_string()).unwrap();
        let (clock, time) = Clock::manual(WallMs(1_790_000_000_000));
        let running = serve(SimulatorOptions::new(scenario), clock, &TaskTracker::new())
            .await
            .unwrap();
        Sim {
            running,
            time,
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// Sends a request and returns its head; the body still comes.
    pub async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.running.addr));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.client.request(request.body(Full::new(body.into())).unwrap()).await
    }

    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Got {
        let response = self.open(method, path, headers, body).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Got {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    pub async fn get(&self, path: &str, key: &str) -> Got {
        self.send(
            Method::GET,
            path,
            &[("authorization", &format!("Bearer {key}"))],
            Bytes::new(),
        )
        .await
    }

    pub async fn post(&self, path: &str, key: &str, body: &Value) -> Got {
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        self.send(Method::POST, path, &headers, body.to_string()).await
    }

    /// A chat call with the default key.
    pub async fn chat(&self, body: &Value) -> Got {
        self.post("/v1/chat/completions", Scenario::DEFAULT_KEY, body).await
    }

    /// The head of a chat call with the default key.
    pub async fn open_chat(&self, body: &Value) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
        let bearer = format!("Bearer {}", Scenario::DEFAULT_KEY);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        self.open(Method::POST, "/v1/chat/completions", &headers, body.to_string())
            .await
    }

    /// Posts misbehaviour.
    pub async fn script(&self, rule: Value) {
        let got = self.post("/__sim/script", "", &rule).await;
        assert_eq!(got.status, StatusCode::OK, "{}", got.text());
    }
}

/// A request that asks this.
pub fn ask(model: &str, prompt: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": prompt}]})
}

/// The same, streamed.
pub fn ask_streamed(model: &str, prompt: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": prompt}], "stream": true})
}

/// The paths of all keys in a value: `choices[].message.role`…
pub fn key_paths(value: &Value) -> BTreeSet<String> {
    fn walk(value: &Value, path: &str, paths: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (name, inner) in fields {
                    let path = if path.is_empty() {
                        name.clone()
                    } else {
                        format!("{path}.{name}")
                    };
                    paths.insert(path.clone());
                    walk(inner, &path, paths);
                }
            }
            Value::Array(list) => list.iter().for_each(|inner| walk(inner, &format!("{path}[]"), paths)),
            _ => {}
        }
    }
    let mut paths = BTreeSet::new();
    walk(value, "", &mut paths);
    paths
}
