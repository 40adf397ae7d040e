//! Text from speech: `POST /v1/stt` as it comes, and `POST /v1/audio/transcriptions`, OpenAI's.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use poem::{Request, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::form::Form as OutForm;
use super::speech::Form;
use super::{BYTES_A_SECOND, Shared, TICKS_A_SECOND, TRANSCRIPTION};
use crate::engine::answer::Answer;
use crate::engine::ask::{Ask, Route};
use crate::engine::dialect::{Dialect, FaultFinder, Relay, Told};
use crate::engine::error::{ErrorKind, GatewayError};
use crate::engine::usage::Usage;
use crate::fronts::openai::error::error_response;
use crate::fronts::passed::objects::read_upload;
use crate::fronts::passed::{Parts, ServiceDialect, json_response, must_be_open, respond_as_it_is};
use crate::fronts::{answering, asking};
use crate::http::arrival::Arrival;
use crate::http::auth::authenticate;

/// What a transcript says.
#[derive(Debug, Default, Deserialize)]
struct Transcript {
    #[serde(default)]
    text: String,
    #[serde(default)]
    language: Option<String>,
    #[serde(default)]
    duration: Option<f64>,
    #[serde(default)]
    words: Vec<Word>,
}

#[derive(Debug, Deserialize)]
struct Word {
    #[serde(default, alias = "word")]
    text: String,
    #[serde(default)]
    start: f64,
    #[serde(default)]
    end: f64,
}

/// Transcripts are paid for by the length of what was heard, which they tell.
struct TranscriptDialect {
    expected_ticks: u64,
}

impl Dialect for TranscriptDialect {
    fn relay(&self, faults: FaultFinder) -> Box<dyn Relay> {
        ServiceDialect::default().relay(faults)
    }

    fn read_answer(&self, body: &[u8]) -> Told {
        let heard = serde_json::from_slice::<Transcript>(body).ok();
        let ticks = heard
            .and_then(|heard| heard.duration)
            .filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
            .map_or(self.expected_ticks, |seconds| {
                (seconds * TICKS_A_SECOND as f64).ceil() as u64
            });
        Told {
            usage: Some(Usage {
                total: Some(0),
                cost_in_usd_ticks: Some(ticks),
                ..Usage::default()
            }),
            ..Told::default()
        }
    }

    fn error_event(&self, error: &GatewayError) -> Bytes {
        ServiceDialect::default().error_event(error)
    }

    fn keep_alive(&self) -> Bytes {
        ServiceDialect::default().keep_alive()
    }
}

/// How OpenAI's clients want it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Json,
    Verbose,
    Text,
}

/// Answers either.
pub async fn transcription(app: &Shared, request: Request, form: Form) -> Response {
    let arrival = Arrival::of(&request, app);
    match answer(app, request, &arrival, form).await {
        Ok(response) => response,
        Err(error) => error_response(&error, &arrival.id.to_string()),
    }
}

async fn answer(app: &Shared, mut request: Request, arrival: &Arrival, form: Form) -> Result<Response, GatewayError> {
    let config = app.config();
    let route = match form {
        Form::Own => Route::post("/v1/stt", "/stt"),
        Form::OpenAi => Route::post("/v1/audio/transcriptions", "/stt"),
    };
    let label = route.label;
    let refused = |error: &GatewayError| app.refused(arrival, label, error);
    let caller = authenticate(app, request.headers()).inspect_err(refused)?;
    let made = async {
        must_be_open(&config, "/v1/stt")?;
        let upload = read_upload(app, &mut request, config.xai.max_upload_mb).await?;
        let parts = Parts::read(request.headers(), upload.body.clone()).await?;
        let (model, shape) = match form {
            Form::Own => (TRANSCRIPTION.to_owned(), Shape::Json),
            Form::OpenAi => {
                let model = parts.text("model")?.filter(|model| !model.is_empty());
                let model = model.ok_or_else(|| {
                    GatewayError::field("model", "Name a model: `model` is required.").with_code("missing")
                })?;
                (model, shape_of(&parts)?)
            }
        };
        asking::may_use(&caller, &model, TRANSCRIPTION)?;
        let bytes = match form {
            Form::Own if parts.named("url").next().is_some() => 0,
            _ => parts
                .files("file", 1)?
                .iter()
                .map(|file| file.content.len() as u64)
                .sum::<u64>(),
        };
        let (body, content_type) = match form {
            Form::Own => (upload.body.clone(), Some(parts.content_type.clone())),
            Form::OpenAi => converted(&parts)?,
        };
        let ticks = (bytes / BYTES_A_SECOND)
            .saturating_add(1)
            .saturating_mul(TICKS_A_SECOND);
        let ask = Ask {
            model,
            bytes_in: upload.body.len() as u64,
            body,
            content_type,
            expected_ticks: Some(ticks),
            is_repeatable: false,
            ..Ask::of_service(
                route,
                arrival,
                caller.clone(),
                TRANSCRIPTION,
                Arc::new(TranscriptDialect { expected_ticks: ticks }),
            )
        };
        Ok((ask, shape, upload))
    };
    let (ask, shape, upload) = made.await.inspect_err(refused)?;
    let answer = app.engine.run(ask).await?;
    drop(upload);
    match (form, answer) {
        (Form::OpenAi, Answer::Whole { body, .. }) => Ok(shaped(&body, shape, arrival)?),
        (Form::Own, answer) => Ok(respond_as_it_is(answer, arrival)),
        (_, answer) => Ok(answering::respond(answer, arrival)),
    }
}

fn shape_of(parts: &Parts) -> Result<Shape, GatewayError> {
    let is_streamed = parts.text("stream")?.is_some_and(|stream| stream == "true");
    if is_streamed {
        return Err(GatewayError::field(
            "stream",
            "The upstream does not stream transcripts: leave `stream` out.",
        ));
    }
    match parts.text("response_format")?.as_deref() {
        None | Some("json" | "") => Ok(Shape::Json),
        Some("verbose_json") => Ok(Shape::Verbose),
        Some("text") => Ok(Shape::Text),
        Some(other) => Err(GatewayError::field(
            "response_format",
            format!(
                "`response_format` {} is not made here: ask for json, verbose_json or text.",
                crate::fronts::members::clip(other)
            ),
        )),
    }
}

/// The form that the upstream takes.
fn converted(parts: &Parts) -> Result<(Bytes, Option<HeaderValue>), GatewayError> {
    let mut form = OutForm::new();
    if let Some(language) = parts.text("language")?.filter(|language| !language.is_empty()) {
        form.text("language", &language);
    }
    for file in parts.files("file", 1)? {
        form.file("file", file);
    }
    Ok(form.finish())
}

fn shaped(body: &[u8], shape: Shape, arrival: &Arrival) -> Result<Response, GatewayError> {
    let heard: Transcript = serde_json::from_slice(body).map_err(|error| {
        GatewayError::new(ErrorKind::UpstreamFailed, "The upstream's answer made no sense.")
            .with_detail(error.to_string())
    })?;
    if shape == Shape::Text {
        let mut response = Response::builder()
            .status(StatusCode::OK)
            .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(heard.text);
        arrival.sign(&mut response);
        return Ok(response);
    }
    Ok(json_response(told(&heard, shape).to_string(), arrival))
}

fn told(heard: &Transcript, shape: Shape) -> Value {
    let seconds = heard.duration.unwrap_or(0.0);
    let usage = json!({"type": "duration", "seconds": seconds.ceil()});
    if shape != Shape::Verbose {
        return json!({"text": heard.text, "usage": usage});
    }
    let words: Vec<Value> = heard
        .words
        .iter()
        .map(|word| json!({"word": word.text, "start": word.start, "end": word.end}))
        .collect();
    json!({
        "task": "transcribe",
        "language": heard.language.as_deref().unwrap_or("unknown"),
        "duration": seconds,
        "text": heard.text,
        "words": words,
        "usage": usage,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_is_paid_for_by_its_length() {
        let dialect = TranscriptDialect { expected_ticks: 7 };
        let cost = |body: &str| dialect.read_answer(body.as_bytes()).usage.unwrap().cost_in_usd_ticks;
        assert_eq!(cost(r#"{"text":"a","duration":10}"#), Some(2_777_780));
        assert_eq!(cost(r#"{"text":"a"}"#), Some(7));
        assert_eq!(cost(r#"{"text":"a","duration":-1}"#), Some(7));
    }

    #[test]
    fn it_is_told_as_openai_tells_it() {
        let heard: Transcript = serde_json::from_str(
            r#"{"text":"Hi","language":"en","duration":1.2,"words":[{"text":"Hi","start":0.1,"end":1.0}]}"#,
        )
        .unwrap();
        assert_eq!(
            told(&heard, Shape::Json),
            json!({"text": "Hi", "usage": {"type": "duration", "seconds": 2.0}})
        );
        assert_eq!(told(&heard, Shape::Verbose)["words"][0]["word"], "Hi");
    }
}
