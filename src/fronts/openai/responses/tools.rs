//! Tools that OpenAI's API knows and the upstream does not. Clients offer them along with others and do without (Codex
//! offers groups of them), so they are left out, and the answer says so.

use serde_json::Value;

use crate::engine::error::GatewayError;
use crate::fronts::members::Members;

/// Kinds that the upstream refuses a whole request for (`xai-api.md` §5 has those it takes).
const UNKNOWN_UPSTREAM: [&str; 7] = [
    "namespace",
    "custom",
    "local_shell",
    "apply_patch",
    "computer",
    "computer_use",
    "computer_use_preview",
];

/// What is left of the tools.
#[derive(Debug, PartialEq)]
pub(super) struct Kept {
    /// The list to send.
    pub(super) tools: Value,
    /// What was left out: `tools[4] (namespace)`, with commas.
    pub(super) left_out: String,
}

/// The tools without those that the upstream does not know; `None` where it knows them all.
///
/// # Errors
/// 400 where the client insists on one of them.
pub(super) fn kept(members: &Members<'_>) -> Result<Option<Kept>, GatewayError> {
    let Some(raw) = members.raw("tools") else {
        return Ok(None);
    };
    // Nearly every list has none, and is not taken apart.
    if !UNKNOWN_UPSTREAM.iter().any(|kind| raw.contains(kind)) {
        return Ok(None);
    }
    let Ok(tools) = serde_json::from_str::<Vec<Value>>(raw) else {
        return Ok(None);
    };
    let mut left_out = Vec::new();
    let mut kept = Vec::new();
    for (index, tool) in tools.into_iter().enumerate() {
        let kind = tool.get("type").and_then(Value::as_str).unwrap_or_default();
        if UNKNOWN_UPSTREAM.contains(&kind) {
            left_out.push((index, kind.to_owned()));
        } else {
            kept.push(tool);
        }
    }
    if left_out.is_empty() {
        return Ok(None);
    }
    let wanted: Option<Value> = members
        .raw("tool_choice")
        .and_then(|choice| serde_json::from_str(choice).ok());
    let wanted_kind = wanted.as_ref().and_then(|choice| choice.get("type")?.as_str());
    if let Some((index, kind)) = left_out.iter().find(|(_, kind)| wanted_kind == Some(kind)) {
        return Err(GatewayError::field(
            "tool_choice",
            format!(
                "`tool_choice` insists on tools[{index}], and the upstream has no tools of type `{kind}`: use a \
                 `function`, or leave the choice to the model."
            ),
        )
        .with_code("unsupported_tool"));
    }
    let named: Vec<String> = left_out
        .iter()
        .map(|(index, kind)| format!("tools[{index}] ({kind})"))
        .collect();
    Ok(Some(Kept {
        tools: Value::Array(kept),
        left_out: named.join(", "),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str) -> Result<Option<Kept>, GatewayError> {
        kept(&Members::read(body.as_bytes()).unwrap())
    }

    #[test]
    fn what_the_upstream_does_not_know_is_left_out_and_named() {
        let found = of(
            r#"{"tools":[{"type":"function","name":"a"},{"type":"namespace","name":"b","tools":[]},{"type":"custom","name":"c"},{"type":"web_search"}]}"#,
        );
        let kept = found.unwrap().unwrap();
        assert_eq!(kept.left_out, "tools[1] (namespace), tools[2] (custom)");
        assert_eq!(kept.tools[0]["name"], "a");
        assert_eq!(kept.tools[1]["type"], "web_search");
        assert!(kept.tools.get(2).is_none());
    }

    #[test]
    fn other_lists_stay_as_they_came() {
        for body in [
            r#"{"input":"x"}"#,
            r#"{"tools":[]}"#,
            r#"{"tools":[{"type":"function","name":"custom","description":"a namespace"}]}"#,
            r#"{"tools":"custom"}"#,
        ] {
            assert_eq!(of(body).unwrap(), None, "{body}");
        }
    }

    #[test]
    fn whoever_insists_is_told() {
        let error = of(r#"{"tools":[{"type":"custom","name":"c"}],"tool_choice":{"type":"custom","name":"c"}}"#);
        assert_eq!(error.unwrap_err().param.as_deref(), Some("tool_choice"));
    }
}
