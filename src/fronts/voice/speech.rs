//! Speech from text: `POST /v1/tts` as it comes, and `POST /v1/audio/speech`, OpenAI's.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use poem::{Request, Response};
use serde_json::{Value, json};

use super::{LONGEST, SPEECH, Shared, TICKS_A_CHARACTER, team_of_voice, voice_for};
use crate::door::body::read_body;
use crate::engine::ask::{Ask, Route};
use crate::engine::error::GatewayError;
use crate::fronts::asking;
use crate::fronts::json::Kind;
use crate::fronts::members::{Members, missing};
use crate::fronts::openai::error::error_response;
use crate::fronts::passed::{ServiceDialect, must_be_open, respond_as_it_is};
use crate::http::arrival::Arrival;
use crate::http::auth::authenticate;

/// Names what of a request the upstream does not know.
const LEFT_OUT: &str = "x-grok2api-left-out";

/// In whose form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The upstream's.
    Own,
    /// OpenAI's.
    OpenAi,
}

impl Form {
    const fn route(self) -> Route {
        match self {
            Form::Own => Route::post("/v1/tts", "/tts"),
            Form::OpenAi => Route::post("/v1/audio/speech", "/tts"),
        }
    }
}

/// Answers either.
pub async fn speech(app: &Shared, request: Request, form: Form) -> Response {
    let arrival = Arrival::of(&request, app);
    match answer(app, request, &arrival, form).await {
        Ok(response) => response,
        Err(error) => error_response(&error, &arrival.id.to_string()),
    }
}

/// What is sent upstream.
struct Wanted {
    model: String,
    body: Bytes,
    characters: u64,
    voice: Option<String>,
    left_out: Option<&'static str>,
}

async fn answer(app: &Shared, mut request: Request, arrival: &Arrival, form: Form) -> Result<Response, GatewayError> {
    let config = app.config();
    let route = form.route();
    let refused = |error: &GatewayError| app.refused(arrival, route.label, error);
    let caller = authenticate(app, request.headers()).inspect_err(refused)?;
    let made = async {
        must_be_open(&config, "/v1/tts")?;
        let body = read_body(&mut request, &app.body_limits()).await?;
        let members = Members::read(&body)?;
        let wanted = match form {
            Form::Own => own(&members, &body)?,
            Form::OpenAi => converted(&members)?,
        };
        asking::may_use(&caller, &wanted.model, SPEECH)?;
        let pin = match &wanted.voice {
            Some(voice) => team_of_voice(app, &caller, voice).await?,
            None => None,
        };
        let ticks = wanted.characters.saturating_mul(TICKS_A_CHARACTER);
        let dialect = ServiceDialect { id_member: None, ticks };
        let ask = Ask {
            model: wanted.model,
            bytes_in: body.len() as u64,
            body: wanted.body,
            expected_ticks: Some(ticks),
            is_binary: true,
            is_repeatable: false,
            pin,
            ..Ask::of_service(form.route(), arrival, caller.clone(), SPEECH, Arc::new(dialect))
        };
        Ok((ask, wanted.left_out))
    };
    let (ask, left_out) = made.await.inspect_err(refused)?;
    let mut response = respond_as_it_is(app.engine.run(ask).await?, arrival);
    if let Some(left_out) = left_out {
        response
            .headers_mut()
            .insert(LEFT_OUT, HeaderValue::from_static(left_out));
    }
    Ok(response)
}

fn spoken(members: &Members<'_>, name: &'static str) -> Result<String, GatewayError> {
    let text = members
        .string(name)?
        .filter(|text| !text.is_empty())
        .ok_or_else(|| match name {
            "text" => missing("text", "`text` is required."),
            _ => missing("input", "`input` is required."),
        })?;
    let characters = text.chars().count();
    if characters > LONGEST {
        return Err(GatewayError::field(
            name,
            format!("`{name}` has {characters} characters; at most {LONGEST} are spoken at once."),
        )
        .with_code("string_above_max_length"));
    }
    Ok(text)
}

fn own(members: &Members<'_>, body: &Bytes) -> Result<Wanted, GatewayError> {
    members.must_be("output_format", &[Kind::Object])?;
    let text = spoken(members, "text")?;
    Ok(Wanted {
        model: SPEECH.to_owned(),
        body: body.clone(),
        characters: text.chars().count() as u64,
        voice: members.hint("voice_id")?,
        left_out: None,
    })
}

fn converted(members: &Members<'_>) -> Result<Wanted, GatewayError> {
    let model = members.model()?;
    let text = spoken(members, "input")?;
    members.must_be("voice", &[Kind::String, Kind::Object])?;
    let voice = match members.kind("voice") {
        None => return Err(missing("voice", "`voice` is required.")),
        Some(Kind::String) => members.hint("voice")?,
        // A voice of one's own: `{"id": …}`.
        Some(_) => members
            .raw("voice")
            .and_then(|raw| serde_json::from_str::<Value>(raw).ok())
            .and_then(|voice| voice["id"].as_str().map(str::to_owned)),
    };
    let voice = voice.ok_or_else(|| GatewayError::field("voice", "`voice` names no voice."))?;
    let codec = match members.hint("response_format")?.as_deref() {
        None | Some("mp3") => "mp3",
        Some("wav") => "wav",
        Some("pcm") => "pcm",
        Some(other) => {
            return Err(GatewayError::field(
                "response_format",
                format!(
                    "`response_format` {} is not made here: ask for mp3, wav or pcm.",
                    crate::fronts::members::clip(other)
                ),
            ));
        }
    };
    if members.hint("stream_format")?.is_some_and(|format| format != "audio") {
        return Err(GatewayError::field(
            "stream_format",
            "`stream_format` must be audio: the upstream sends no events for speech.",
        ));
    }
    members.must_be("speed", &[Kind::Number])?;
    let speed: Option<f64> = members.raw("speed").and_then(|raw| raw.parse().ok());
    if speed.is_some_and(|speed| !(0.7..=1.5).contains(&speed)) {
        return Err(GatewayError::field("speed", "`speed` must be 0.7 to 1.5 here."));
    }
    let voice = voice_for(&voice).to_owned();
    let mut body = json!({
        "text": text,
        "language": "auto",
        "voice_id": voice,
        "output_format": match codec {
            // What OpenAI's PCM is.
            "pcm" => json!({"codec": codec, "sample_rate": 24_000}),
            _ => json!({"codec": codec}),
        },
    });
    if let Some(speed) = speed {
        body["speed"] = json!(speed);
    }
    Ok(Wanted {
        model,
        characters: text.chars().count() as u64,
        body: Bytes::from(body.to_string()),
        voice: Some(voice),
        left_out: members.hint("instructions")?.map(|_| "instructions"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(body: &str) -> Result<Value, GatewayError> {
        let members = Members::read(body.as_bytes()).unwrap();
        converted(&members).map(|wanted| serde_json::from_slice(&wanted.body).unwrap())
    }

    #[test]
    fn what_openai_asks_for_is_asked_of_the_upstream() {
        let body =
            convert(r#"{"model":"tts-1","input":"Hi","voice":"alloy","response_format":"pcm","speed":1.2}"#).unwrap();
        assert_eq!(
            body,
            json!({
                "text": "Hi", "language": "auto", "voice_id": "eve", "speed": 1.2,
                "output_format": {"codec": "pcm", "sample_rate": 24_000},
            })
        );
        assert_eq!(
            convert(r#"{"model":"m","input":"Hi","voice":{"id":"v1"}}"#).unwrap()["voice_id"],
            "v1"
        );
    }

    #[test]
    fn what_the_upstream_cannot_do_is_said_before_it_is_paid_for() {
        for (body, field) in [
            (r#"{"model":"m","voice":"alloy"}"#, "input"),
            (r#"{"model":"m","input":"","voice":"alloy"}"#, "input"),
            (r#"{"model":"m","input":"Hi"}"#, "voice"),
            (r#"{"model":"m","input":"Hi","voice":{}}"#, "voice"),
            (r#"{"input":"Hi","voice":"alloy"}"#, "model"),
            (
                r#"{"model":"m","input":"Hi","voice":"alloy","response_format":"opus"}"#,
                "response_format",
            ),
            (r#"{"model":"m","input":"Hi","voice":"alloy","speed":4}"#, "speed"),
            (
                r#"{"model":"m","input":"Hi","voice":"alloy","stream_format":"sse"}"#,
                "stream_format",
            ),
        ] {
            let error = convert(body).unwrap_err();
            assert_eq!(
                (error.http_status(), error.param.as_deref()),
                (400, Some(field)),
                "{body}"
            );
        }
    }
}
