//! Videos as clients of either dialect see them. Pure.

use serde_json::{Value, json};

use super::job::{Ended, Job, LIFE_MS, Standing, is_shown, openai_id};
use crate::fronts::media::links::Links;

/// What moderation did, in words.
const WITHHELD: &str = "The upstream's moderation withheld this video. It counts and is billed like any other.";

/// As the upstream has it, with our link in place of its own; and the status.
pub fn native(standing: &Standing, links: &Links) -> (u16, Value) {
    match standing {
        Standing::Pending(progress) => (202, json!({"status": "pending", "progress": progress})),
        Standing::Ended(ended) => {
            let mut answer = ended.answer.clone();
            if let Some(video) = answer.get_mut("video") {
                if let Some(file) = &ended.file {
                    video["url"] = json!(links.to(file));
                } else if !is_shown(&ended.answer) {
                    video["moderation"] = json!(WITHHELD);
                }
            }
            (200, answer)
        }
    }
}

/// As OpenAI has it.
pub fn openai(id: &str, job: &Job, standing: &Standing) -> Value {
    let (status, progress, completed, error) = match standing {
        Standing::Pending(0) => ("queued", 0, None, Value::Null),
        Standing::Pending(progress) => ("in_progress", *progress, None, Value::Null),
        Standing::Ended(ended) => match failure(ended) {
            None => ("completed", 100, Some(ended.at), Value::Null),
            Some((code, message)) => ("failed", 0, Some(ended.at), json!({"code": code, "message": message})),
        },
    };
    let seconds = match standing {
        Standing::Ended(ended) => ended.answer.pointer("/video/duration").and_then(Value::as_f64),
        Standing::Pending(_) => None,
    };
    let seconds = seconds.map_or(job.seconds, |seconds| seconds.round() as u32);
    json!({
        "id": openai_id(id),
        "object": "video",
        "status": status,
        "progress": progress,
        "created_at": job.created,
        "completed_at": completed,
        "expires_at": job.created + LIFE_MS / 1000,
        "model": job.model,
        "prompt": job.prompt,
        "seconds": seconds.to_string(),
        "size": job.size,
        "remixed_from_video_id": job.remixed_from,
        "error": error,
    })
}

/// Why nothing came of it: a code, and words.
pub fn failure(ended: &Ended) -> Option<(&str, String)> {
    let text = |pointer: &str| ended.answer.pointer(pointer).and_then(Value::as_str);
    match text("/status") {
        Some("failed") => Some((
            text("/error/code").unwrap_or("internal_error"),
            text("/error/message")
                .unwrap_or("The video could not be made.")
                .to_owned(),
        )),
        Some("expired") => Some(("expired", "The upstream does not keep this video any more.".to_owned())),
        _ if !is_shown(&ended.answer) => Some(("content_policy_violation", WITHHELD.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job {
            model: "sora-2".to_owned(),
            prompt: "Waves".to_owned(),
            seconds: 8,
            size: "1280x720".to_owned(),
            created: 1_000,
            remixed_from: None,
            ended: None,
        }
    }

    fn ended(answer: Value) -> Standing {
        Standing::Ended(Ended {
            at: 1_060,
            answer,
            file: None,
        })
    }

    #[test]
    fn every_end_has_its_word() {
        let done = json!({"status": "done", "video": {"url": "", "duration": 5.0, "respect_moderation": true}});
        let withheld = json!({"status": "done", "video": {"url": "", "respect_moderation": false}});
        let failed = json!({"status": "failed", "error": {"code": "invalid_argument", "message": "No."}});
        for (standing, status, progress, code) in [
            (Standing::Pending(0), "queued", 0, Value::Null),
            (Standing::Pending(40), "in_progress", 40, Value::Null),
            (ended(done), "completed", 100, Value::Null),
            (ended(withheld), "failed", 0, json!("content_policy_violation")),
            (ended(failed), "failed", 0, json!("invalid_argument")),
            (ended(json!({"status": "expired"})), "failed", 0, json!("expired")),
        ] {
            let shown = openai("abc", &job(), &standing);
            assert_eq!(
                (&shown["status"], &shown["progress"], &shown["error"]["code"]),
                (&json!(status), &json!(progress), &code),
                "{shown}"
            );
            assert_eq!((&shown["id"], &shown["object"]), (&json!("video_abc"), &json!("video")));
        }
        let shown = openai(
            "abc",
            &job(),
            &ended(json!({"status": "done", "video": {"duration": 5.0}})),
        );
        assert_eq!(
            (&shown["seconds"], &shown["completed_at"]),
            (&json!("5"), &json!(1_060))
        );
    }
}
