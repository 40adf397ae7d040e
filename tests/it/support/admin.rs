//! The administrator, over HTTP.

use std::time::Duration;

use serde_json::{Value, json};

use super::http::{Got, Http};

/// Logged in.
#[derive(Clone, Debug)]
pub struct Admin {
    http: Http,
    token: String,
}

/// A client key and what it may be found by.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub id: String,
    pub secret: String,
}

impl Admin {
    /// Logs in with these.
    pub async fn login(http: &Http, username: &str, password: &str) -> Admin {
        let got = http
            .anonymous()
            .post(
                "/api/v1/admin/login",
                &json!({"username": username, "password": password}),
            )
            .await
            .ok();
        let token = got.json()["token"].as_str().unwrap().to_owned();
        Admin {
            http: http.anonymous().with_bearer(&token),
            token,
        }
    }

    /// With the token of a session: it is valid on every node of a cluster.
    pub fn with_token(http: &Http, token: &str) -> Admin {
        Admin {
            http: http.anonymous().with_bearer(token),
            token: token.to_owned(),
        }
    }

    /// The session's token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The client, with the session as bearer.
    pub fn http(&self) -> &Http {
        &self.http
    }

    pub async fn get(&self, path: &str) -> Got {
        self.http.get(&format!("/api/v1/admin{path}")).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Got {
        self.http.post(&format!("/api/v1/admin{path}"), body).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Got {
        self.http.patch(&format!("/api/v1/admin{path}"), body).await
    }

    pub async fn delete(&self, path: &str) -> Got {
        self.http.delete(&format!("/api/v1/admin{path}")).await
    }

    /// Makes a client key.
    pub async fn new_key(&self, body: Value) -> NewKey {
        let got = self.post("/keys", &body).await.ok().json();
        let text = |name: &str| got["data"][name].as_str().unwrap_or_else(|| panic!("{got}")).to_owned();
        NewKey {
            id: text("id"),
            secret: text("key"),
        }
    }

    /// One key as lists show it.
    pub async fn key(&self, id: &str) -> Value {
        self.get(&format!("/keys/{id}")).await.ok().json()["data"].clone()
    }

    /// Every token.
    pub async fn tokens(&self) -> Vec<Value> {
        let page = self.get("/tokens?limit=1000").await.ok().json();
        page["items"].as_array().unwrap_or_else(|| panic!("{page}")).clone()
    }

    /// The token whose masked form belongs to this secret.
    pub async fn token_of(&self, secret: &str) -> Value {
        let tail = &secret[secret.len() - 4..];
        let tokens = self.tokens().await;
        let found = tokens
            .iter()
            .find(|token| token["token"].as_str().unwrap().ends_with(tail));
        found
            .unwrap_or_else(|| panic!("no token …{tail} in {tokens:?}"))
            .clone()
    }

    /// Adds tokens of the official API.
    pub async fn import(&self, secrets: &[String]) -> Value {
        let got = self
            .http
            .send(
                http::Method::POST,
                "/api/v1/admin/tokens/import?pool=apiKey&report=all",
                &[("content-type", "text/plain")],
                secrets.join("\n"),
            )
            .await;
        got.ok().json()
    }

    /// Waits until so many tokens are active with their team known.
    pub async fn wait_for_tokens(&self, count: usize) {
        super::eventually("tokens are known", Duration::from_secs(60), || async {
            let tokens = self.tokens().await;
            let known = tokens
                .iter()
                .filter(|token| token["state"] == "active" && token["team"].is_string())
                .count();
            if known >= count {
                Ok(())
            } else {
                Err(format!("{known} of {count}: {tokens:?}"))
            }
        })
        .await;
    }

    /// The newest records of the request log.
    pub async fn requests(&self, query: &str) -> Vec<Value> {
        let page = self.get(&format!("/requests?{query}")).await.ok().json();
        page["items"].as_array().unwrap_or_else(|| panic!("{page}")).clone()
    }

    /// The record of a request; it may take a moment until it is there.
    pub async fn request(&self, id: &str) -> Value {
        let path = format!("/requests/{id}");
        super::eventually("the request is in the log", Duration::from_secs(10), || async {
            let got = self.get(&path).await;
            if got.status == 200 {
                Ok(())
            } else {
                Err(format!("{} {}", got.status, got.text()))
            }
        })
        .await;
        let got = self.get(&path).await.ok().json();
        // Whether the record is the body itself or stands in `data`.
        got.get("data").cloned().unwrap_or(got)
    }
}
