//! Calls of the official API: what a request looks like on the wire, and who understands its answer.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::future::BoxFuture;
use grok2api_actors::clock::Clock;
use grok2api_actors::egress::{ConnectError, ConnectionPool, Egress, Origin, ProxySpec, RawSocket};
use grok2api_actors::token::Token;
use grok2api_schemas::config::{Config, Cool};
use grok2api_schemas::token::LearnedLimits;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Uri};
use http_body_util::Full;

use super::classify::{Context, CoolScope, Verdict, classify, classify_stream_event};
use super::ratelimit::RateHeaders;
use super::rules::{RuleSpec, Rules};
use crate::providers::{Provider, UpstreamCall};

/// Where the API is and how it is reached.
#[derive(Clone, Debug)]
pub struct XaiOptions {
    /// The API's address, version included, such as `https://api.x.ai/v1`.
    pub base_url: String,
    /// The way there for tokens that name no proxy.
    pub proxy: ProxySpec,
}

/// The official API.
pub struct XaiUpstream {
    origin: Origin,
    prefix: String,
    host: HeaderValue,
    egress: Egress,
    direct: Arc<ConnectionPool>,
    /// The way there for tokens that name no proxy.
    proxy: ProxySpec,
    rules: ArcSwap<Rules>,
    clock: Clock,
}

/// What upstream servers learn of us.
const AGENT: &str = concat!("grok2api/", env!("CARGO_PKG_VERSION"));

impl XaiUpstream {
    /// The API at an address.
    ///
    /// # Errors
    /// In words, when the address is not an absolute http or https URL.
    pub fn new(options: &XaiOptions, egress: Egress, clock: Clock) -> Result<XaiUpstream, String> {
        let url: Uri = options
            .base_url
            .parse()
            .map_err(|_| format!("xai.base_url is not a URL: {}", options.base_url))?;
        let origin = Origin::of(&url)?;
        let host =
            HeaderValue::from_str(&origin.authority).map_err(|_| "xai.base_url has no usable host".to_owned())?;
        let direct = egress.pool(&origin, &options.proxy);
        let prefix = url.path().trim_end_matches('/').to_owned();
        Ok(XaiUpstream {
            origin,
            prefix,
            host,
            egress,
            direct,
            proxy: options.proxy.clone(),
            rules: ArcSwap::from_pointee(Rules::default()),
            clock,
        })
    }

    /// Puts the operator's rules into force.
    ///
    /// # Errors
    /// In words, naming the rule that cannot be.
    pub fn set_rules(&self, config: &Config) -> Result<(), String> {
        let specs = config
            .xai
            .rules
            .iter()
            .map(|rule| RuleSpec {
                status: rule.status,
                text: Some(rule.text.clone()).filter(|text| !text.is_empty()),
                model: Some(rule.model.clone()).filter(|model| !model.is_empty()),
                retry: rule.retry,
                cool: match rule.cool {
                    Cool::Nobody => None,
                    Cool::Token => Some(CoolScope::Token),
                    Cool::TokenModel => Some(CoolScope::TokenModel),
                    Cool::TeamModel => Some(CoolScope::TeamModel),
                    Cool::Team => Some(CoolScope::Team),
                },
                for_secs: rule.for_secs,
            })
            .collect();
        let rules = Rules::compile(specs, config.grok.retry_status_codes.clone()).map_err(|error| error.to_string())?;
        self.rules.store(Arc::new(rules));
        Ok(())
    }
}

impl Provider for XaiUpstream {
    fn name(&self) -> &'static str {
        "xai"
    }

    fn connections(&self, proxy: Option<&ProxySpec>) -> Arc<ConnectionPool> {
        match proxy {
            Some(proxy) => self.egress.pool(&self.origin, proxy),
            None => self.direct.clone(),
        }
    }

    fn request(&self, call: &UpstreamCall<'_>, token: &Token) -> Result<Request<Full<Bytes>>, String> {
        let authorization = token.authorization().ok_or("the credential cannot stand in a header")?;
        let mut path = String::with_capacity(self.prefix.len() + call.path.len());
        path.push_str(&self.prefix);
        path.push_str(call.path);
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.uri_mut() = path.parse().map_err(|_| format!("{path} is not a path"))?;
        *request.method_mut() = call.method.clone();
        let headers = request.headers_mut();
        headers.reserve(8 + call.headers.len());
        headers.insert(HOST, self.host.clone());
        headers.insert(AUTHORIZATION, authorization);
        if !call.body.is_empty() {
            let kind = call.content_type.cloned();
            headers.insert(
                CONTENT_TYPE,
                kind.unwrap_or(HeaderValue::from_static("application/json")),
            );
        }
        let accept = if call.stream {
            "text/event-stream"
        } else {
            "application/json"
        };
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Ok(id) = HeaderValue::from_str(call.request_id) {
            headers.insert("x-client-request-id", id);
        }
        for (name, value) in call.headers {
            headers.append(name.clone(), value.clone());
        }
        Ok(request)
    }

    fn socket<'a>(&'a self, proxy: Option<&'a ProxySpec>) -> BoxFuture<'a, Result<RawSocket, ConnectError>> {
        Box::pin(async move {
            let proxy = proxy.unwrap_or(&self.proxy);
            self.egress.socket(&self.origin, proxy).await
        })
    }

    fn opening(&self, call: &UpstreamCall<'_>, token: &Token) -> Result<Request<()>, String> {
        let (mut head, _) = self.request(call, token)?.into_parts();
        let scheme = if self.origin.tls { "wss" } else { "ws" };
        let address = format!("{scheme}://{}{}", self.origin.authority, head.uri);
        head.uri = address.parse().map_err(|_| format!("{address} is not an address"))?;
        head.headers.remove(ACCEPT);
        Ok(Request::from_parts(head, ()))
    }

    fn classify(&self, status: u16, headers: &HeaderMap, body: &[u8], model: &str, upstream_model: &str) -> Verdict {
        let rules = self.rules.load();
        let context = Context {
            model: upstream_model,
            shown_model: model,
            rules: &rules,
            now: self.clock.wall(),
        };
        classify(status, headers, body, &context)
    }

    fn classify_event(&self, name: Option<&[u8]>, data: &[u8], model: &str, upstream_model: &str) -> Option<Verdict> {
        let rules = self.rules.load();
        let context = Context {
            model: upstream_model,
            shown_model: model,
            rules: &rules,
            now: self.clock.wall(),
        };
        classify_stream_event(name, data, &context)
    }

    fn learn(&self, headers: &HeaderMap) -> LearnedLimits {
        // The API names no window: its figures match the per-minute ones of its documentation (`xai-api.md` §1, §3).
        let told = RateHeaders::read(headers);
        LearnedLimits {
            rpm: told.limit_requests,
            tpm: told.limit_tokens,
            ..LearnedLimits::default()
        }
    }

    fn remaining(&self, headers: &HeaderMap) -> Option<(u64, u64)> {
        let told = RateHeaders::read(headers);
        told.limit_requests.zip(told.remaining_requests)
    }
}
