//! A plain HTTP client that shows everything: heads, bytes, pieces and their times.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::time::Instant;

/// Nothing here takes longer, unless something hangs.
const LIMIT: Duration = Duration::from_secs(150);

/// A client of one server, with one credential. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Http {
    base: String,
    bearer: Option<String>,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Got {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Got {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header, or an empty text.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap_or("(not text)"))
    }

    /// `data:` of every event, in order.
    pub fn events(&self) -> Vec<String> {
        events(&self.text())
    }

    /// Status 200, or a panic with what came instead.
    #[track_caller]
    pub fn ok(self) -> Got {
        self.with_status(200)
    }

    /// This status, or a panic with what came instead.
    #[track_caller]
    pub fn with_status(self, status: u16) -> Got {
        assert_eq!(self.status.as_u16(), status, "{:?} {}", self.headers, self.text());
        self
    }

    /// `error.code` of an error in OpenAI's shape, which is checked.
    #[track_caller]
    pub fn error_code(&self) -> String {
        let error = self.error();
        error["code"].as_str().unwrap_or_default().to_owned()
    }

    /// `error` of an error in OpenAI's shape, which is checked.
    #[track_caller]
    pub fn error(&self) -> Value {
        assert!(
            self.header("content-type").starts_with("application/json"),
            "an error that is not JSON: {} {:?} {}",
            self.status,
            self.headers,
            self.text()
        );
        let body = self.json();
        let error = &body["error"];
        assert!(error.is_object(), "no `error` object: {body}");
        assert!(
            error["message"].as_str().is_some_and(|text| !text.is_empty()),
            "no message: {body}"
        );
        assert!(
            error["type"].as_str().is_some_and(|text| !text.is_empty()),
            "no type: {body}"
        );
        for name in ["param", "code"] {
            let value = &error[name];
            assert!(
                error.get(name).is_some() && (value.is_null() || value.is_string()),
                "`{name}` must be there, a string or null: {body}"
            );
        }
        assert!(!self.header("x-request-id").is_empty(), "no x-request-id: {body}");
        error.clone()
    }
}

/// `data:` of every event of a stream.
pub fn events(text: &str) -> Vec<String> {
    text.split("\n\n")
        .filter_map(|event| {
            let data: Vec<&str> = event
                .lines()
                .filter_map(|line| line.strip_prefix("data:"))
                .map(|data| data.strip_prefix(' ').unwrap_or(data))
                .collect();
            (!data.is_empty()).then(|| data.join("\n"))
        })
        .collect()
}

/// The content that the chunks of a chat stream add up to (choice 0).
pub fn streamed_text(events: &[String]) -> String {
    events
        .iter()
        .filter(|event| *event != "[DONE]")
        .map(|event| {
            let chunk: Value = serde_json::from_str(event).unwrap_or_else(|error| panic!("{error}: {event}"));
            chunk["choices"][0]["delta"]["content"]
                .as_str()
                .unwrap_or("")
                .to_owned()
        })
        .collect()
}

/// An answer that arrives in pieces.
#[derive(Debug)]
pub struct Streaming {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
    started: Instant,
    /// Everything so far.
    pub text: String,
    /// When each piece came, since the request was sent.
    pub times: Vec<Duration>,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As it should.
    Clean,
    /// The connection broke.
    Broken,
}

impl Streaming {
    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            let frame = tokio::time::timeout(LIMIT, self.body.frame())
                .await
                .expect("the stream hangs")?;
            match frame {
                Ok(frame) => {
                    let Ok(data) = frame.into_data() else { continue };
                    self.text.push_str(&String::from_utf8_lossy(&data));
                    self.times.push(self.started.elapsed());
                    return Some(Ok(data));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Reads until `count` events with data have come.
    pub async fn events(&mut self, count: usize) -> Vec<String> {
        while events(&self.text).len() < count {
            match self.next().await {
                Some(Ok(_)) => {}
                other => panic!("the stream ended ({other:?}) after {:?}", self.text),
            }
        }
        events(&self.text)
    }

    /// Reads to the end.
    pub async fn finish(&mut self) -> Ending {
        loop {
            match self.next().await {
                None => return Ending::Clean,
                Some(Err(_)) => return Ending::Broken,
                Some(Ok(_)) => {}
            }
        }
    }
}

impl Http {
    /// A client of the server at `base`, without a credential.
    pub fn new(base: &str) -> Http {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Http {
            base: base.trim_end_matches('/').to_owned(),
            bearer: None,
            client: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(1024)
                .retry_canceled_requests(false)
                .build(connector),
        }
    }

    /// The same client with this bearer.
    pub fn with_bearer(&self, bearer: &str) -> Http {
        Http {
            bearer: Some(bearer.to_owned()),
            ..self.clone()
        }
    }

    /// The same server without a credential, over connections of its own.
    pub fn anonymous(&self) -> Http {
        Http::new(&self.base)
    }

    /// Its credential.
    pub fn bearer(&self) -> Option<&str> {
        self.bearer.as_deref()
    }

    /// Where it goes.
    pub fn base(&self) -> &str {
        &self.base
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(bearer) = &self.bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::new(body.into())).unwrap()
    }

    /// Sends; an error is a connection that failed or broke.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Got, String> {
        let request = self.request(method, path, headers, body);
        tokio::time::timeout(LIMIT, async {
            let response: Response<Incoming> = self
                .client
                .request(request)
                .await
                .map_err(|error| format!("{error} ({:?})", std::error::Error::source(&error)))?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.map_err(|error| format!("body: {error}"))?;
            Ok(Got {
                status: parts.status,
                headers: parts.headers,
                body: body.to_bytes(),
            })
        })
        .await
        .map_err(|_| format!("{path}: no answer in {} s", LIMIT.as_secs()))?
    }

    /// Sends and reads the whole answer.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Got {
        self.try_send(method.clone(), path, headers, body)
            .await
            .unwrap_or_else(|error| panic!("{method} {}{path}: {error}", self.base))
    }

    /// Sends and returns the head; the body still comes.
    pub async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Streaming {
        let request = self.request(method, path, headers, body);
        let started = Instant::now();
        let response = tokio::time::timeout(LIMIT, self.client.request(request))
            .await
            .expect("no head")
            .unwrap_or_else(|error| panic!("{}{path}: {error}", self.base));
        let (parts, body) = response.into_parts();
        Streaming {
            status: parts.status,
            headers: parts.headers,
            body,
            started,
            text: String::new(),
            times: Vec::new(),
        }
    }

    pub async fn get(&self, path: &str) -> Got {
        self.send(Method::GET, path, &[], Bytes::new()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Got {
        self.send(
            Method::POST,
            path,
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Got {
        self.send(
            Method::PATCH,
            path,
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }

    pub async fn delete(&self, path: &str) -> Got {
        self.send(Method::DELETE, path, &[], Bytes::new()).await
    }

    /// A chat call.
    pub async fn chat(&self, body: &Value) -> Got {
        self.post("/v1/chat/completions", body).await
    }

    /// A chat call that may fail on the connection.
    pub async fn try_chat(&self, body: &Value) -> Result<Got, String> {
        self.try_send(
            Method::POST,
            "/v1/chat/completions",
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }

    /// The head of a chat call.
    pub async fn open_chat(&self, body: &Value) -> Streaming {
        self.open(
            Method::POST,
            "/v1/chat/completions",
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }
}
