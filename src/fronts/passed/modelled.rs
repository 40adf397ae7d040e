//! Calls in JSON that name a model: legacy completions, embeddings, tokens of a text.

use std::sync::Arc;

use bytes::Bytes;
use grok2api_schemas::config::Config;
use http::HeaderMap;
use poem::{Request, Response};
use serde_json::{Value, json};

use super::{ServiceDialect, must_be_open};
use crate::app::App;
use crate::door::body::read_body;
use crate::engine::ask::{Ask, Caller, Route};
use crate::engine::error::GatewayError;
use crate::fronts::answering::respond;
use crate::fronts::anthropic;
use crate::fronts::asking::{self, AffinityHints, Use};
use crate::fronts::json::Kind;
use crate::fronts::members::{MAX_TOKENS, Members, missing};
use crate::fronts::openai::dialect::ChatDialect;
use crate::fronts::openai::error::error_response;
use crate::fronts::plain::PlainDialect;
use crate::http::arrival::Arrival;
use crate::http::auth::authenticate;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modelled {
    /// OpenAI's legacy completion.
    Completion,
    /// Anthropic's legacy completion.
    Complete,
    /// Vectors that stand for texts.
    Embedding,
    /// The tokens of a text.
    Tokens,
}

impl Modelled {
    const fn route(self) -> Route {
        match self {
            Modelled::Completion => Route::post("/v1/completions", "/completions"),
            Modelled::Complete => Route::post("/v1/complete", "/complete"),
            Modelled::Embedding => Route::post("/v1/embeddings", "/embeddings"),
            Modelled::Tokens => Route::post("/v1/tokenize-text", "/tokenize-text"),
        }
    }

    const fn used_for(self) -> Use {
        match self {
            Modelled::Completion | Modelled::Complete => Use::Completion,
            Modelled::Embedding => Use::Embedding,
            Modelled::Tokens => Use::Tokens,
        }
    }

    /// The member that the model reads.
    const fn text(self) -> (&'static str, &'static str) {
        match self {
            Modelled::Completion | Modelled::Complete => ("prompt", "`prompt` is required."),
            Modelled::Embedding => ("input", "`input` is required."),
            Modelled::Tokens => ("text", "`text` is required."),
        }
    }

    /// The member that limits the answer's length.
    const fn limit(self) -> Option<&'static str> {
        match self {
            Modelled::Completion => Some("max_tokens"),
            Modelled::Complete => Some("max_tokens_to_sample"),
            Modelled::Embedding | Modelled::Tokens => None,
        }
    }
}

/// Answers such a call.
pub async fn modelled(app: &Arc<App>, request: Request, what: Modelled) -> Response {
    let arrival = Arrival::of(&request, app);
    match answer(app, request, &arrival, what).await {
        Ok(response) => response,
        Err(error) if what == Modelled::Complete => anthropic::error::error_response(&error, &arrival.id.to_string()),
        Err(error) => error_response(&error, &arrival.id.to_string()),
    }
}

async fn answer(
    app: &Arc<App>,
    mut request: Request,
    arrival: &Arrival,
    what: Modelled,
) -> Result<Response, GatewayError> {
    let config = app.config();
    let route = what.route();
    let refused = |error: &GatewayError| app.refused(arrival, route.label, error);
    let caller = authenticate(app, request.headers()).inspect_err(refused)?;
    let made = async {
        must_be_open(&config, route.label)?;
        let body = read_body(&mut request, &app.body_limits()).await?;
        let members = Members::read(&body)?;
        let head = Head::read(&members, what)?;
        let headers = request.headers();
        asking::within_budget(app, || {
            ask(
                app,
                &config,
                caller.clone(),
                arrival,
                what,
                &head,
                &members,
                &body,
                headers,
            )
        })
        .await
    };
    let ask = made.await.inspect_err(refused)?;
    Ok(respond(app.engine.run(ask).await?, arrival))
}

/// What routing, quotas and the log need.
struct Head {
    model: String,
    stream: bool,
    include_usage: bool,
    max_output: Option<u64>,
    answers: u64,
    input_bytes: usize,
    affinity: AffinityHints,
}

impl Head {
    fn read(members: &Members<'_>, what: Modelled) -> Result<Head, GatewayError> {
        let model = members.model()?;
        let (text, required) = what.text();
        match what {
            Modelled::Tokens | Modelled::Complete => members.must_be(text, &[Kind::String])?,
            Modelled::Completion | Modelled::Embedding => members.must_be(text, &[Kind::String, Kind::Array])?,
        }
        let read = members.raw(text).ok_or_else(|| missing(text, required))?;
        let prompts = match (what, members.kind(text)) {
            (Modelled::Completion, Some(Kind::Array)) => {
                let mut texts = 0_u64;
                members.strings(text, |_, _| texts += 1);
                texts.max(1)
            }
            _ => 1,
        };
        members.must_be("stream_options", &[Kind::Object])?;
        let options: Option<Value> = members
            .raw("stream_options")
            .and_then(|raw| serde_json::from_str(raw).ok());
        let max_output = match what.limit() {
            Some(name) => members.integer(name, 1, MAX_TOKENS)?,
            // Nothing is written.
            None => Some(0),
        };
        let answers = match what {
            Modelled::Completion => members.integer("n", 1, 128)?.unwrap_or(1),
            _ => 1,
        };
        Ok(Head {
            model,
            stream: what.limit().is_some() && members.boolean("stream")?.unwrap_or(false),
            include_usage: options.is_some_and(|options| options["include_usage"] == true),
            max_output,
            answers: answers.saturating_mul(prompts),
            // Nothing is paid for cutting a text into tokens.
            input_bytes: if what == Modelled::Tokens { 0 } else { read.len() },
            affinity: AffinityHints {
                prompt_cache_key: None,
                user: members.hint("user")?,
                first_message_hash: None,
            },
        })
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "what a request is, once, and nothing to gain by a name for it"
)]
fn ask(
    app: &App,
    config: &Config,
    caller: Caller,
    arrival: &Arrival,
    what: Modelled,
    head: &Head,
    members: &Members<'_>,
    body: &Bytes,
    headers: &HeaderMap,
) -> Result<Ask, GatewayError> {
    let catalogue = app.catalogue.load();
    let resolved = catalogue.resolve(&head.model);
    asking::may_use(&caller, &head.model, resolved.upstream_name)?;
    asking::must_make(&resolved, what.used_for())?;
    let mut set: Vec<(&str, Value)> = vec![("model", resolved.upstream_name.into())];
    let mut max_output = head.max_output;
    if let Some(limit) = what.limit() {
        let affordable = app.affordable_output(&caller, &resolved, head.input_bytes, head.answers)?;
        if let Some(cap) = affordable.filter(|cap| max_output.is_none_or(|stated| stated > *cap)) {
            set.push((limit, json!(cap)));
            max_output = Some(cap);
        }
    }
    if head.stream && what == Modelled::Completion && !head.include_usage {
        set.push(("stream_options", json!({ "include_usage": true })));
    }
    let conversation = match what.limit() {
        Some(_) => asking::conversation(&caller, headers, &head.affinity),
        None => None,
    };
    let buckets = match what.limit() {
        Some(_) => asking::chat_buckets(&resolved),
        None => Vec::new(),
    };
    let dialect: Arc<dyn crate::engine::dialect::Dialect> = match what {
        Modelled::Completion => Arc::new(ChatDialect {
            keep_usage: head.include_usage,
            choices: head.answers,
        }),
        Modelled::Complete if head.stream => Arc::new(ServiceDialect::default()),
        _ => Arc::new(PlainDialect { id_member: None }),
    };
    Ok(Ask {
        conversation,
        stream: head.stream,
        body: members.with(body, &set),
        bytes_in: body.len() as u64,
        input_bytes: head.input_bytes,
        headers: asking::forwarded(headers, config),
        buckets,
        max_output,
        answers: head.answers,
        ..Ask::new(what.route(), arrival, caller, &head.model, &resolved, dialect)
    })
}
