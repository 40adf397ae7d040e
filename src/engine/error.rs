//! What can go wrong with a request, once, for every dialect: a kind, whose fault it is, and the one table from kinds to
//! HTTP. Fronts only change the JSON around it.

use std::borrow::Cow;
use std::fmt;

/// What went wrong. Closed: it labels metrics and the request log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The body is not JSON, or not of the type the route takes.
    InvalidBody,
    /// A field is missing, of the wrong type or out of range.
    InvalidField,
    /// The upstream refuses the request as such (unsupported argument, retired feature…).
    RejectedByUpstream,
    /// The prompt does not fit the model.
    ContextTooLong,
    /// No such model here.
    UnknownModel,
    /// No such route or object, or it belongs to somebody else.
    NotFound,
    /// The route exists, the method does not.
    MethodNotAllowed,
    /// The body is over the limit.
    TooLarge,
    /// The content type is not one the route takes.
    UnsupportedMediaType,
    /// No credential of ours, or a wrong one.
    Unauthenticated,
    /// The credential is right and may not do this.
    Forbidden,
    /// Somebody changed the object in between, or it exists already.
    Conflict,
    /// A limit of the client key.
    ClientLimit,
    /// The client key's budget.
    ClientBudget,
    /// No token can serve this now, but one will.
    PoolLimit,
    /// No token can serve this until an operator acts (no credit, all keys dead, none enrolled).
    PoolUnusable,
    /// The upstream is at capacity or refuses for a while.
    UpstreamBusy,
    /// The upstream failed: server errors, broken answers, refused connections.
    UpstreamFailed,
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// This node takes no more calls at the moment.
    Overloaded,
    /// This node is shutting down.
    ShuttingDown,
    /// Recognised, and deliberately not done here.
    NotOffered,
    /// A fault of ours.
    Internal,
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The caller's.
    Client,
    /// Ours, or the operator's.
    Gateway,
    /// The upstream's.
    Upstream,
}

/// One line of the table from kinds to HTTP.
struct Row {
    status: u16,
    source: Source,
    retryable: bool,
    openai_type: &'static str,
    code: &'static str,
    anthropic_type: &'static str,
}

impl ErrorKind {
    /// Every kind, for tables and tests.
    pub const ALL: [ErrorKind; 23] = [
        ErrorKind::InvalidBody,
        ErrorKind::InvalidField,
        ErrorKind::RejectedByUpstream,
        ErrorKind::ContextTooLong,
        ErrorKind::UnknownModel,
        ErrorKind::NotFound,
        ErrorKind::MethodNotAllowed,
        ErrorKind::TooLarge,
        ErrorKind::UnsupportedMediaType,
        ErrorKind::Unauthenticated,
        ErrorKind::Forbidden,
        ErrorKind::Conflict,
        ErrorKind::ClientLimit,
        ErrorKind::ClientBudget,
        ErrorKind::PoolLimit,
        ErrorKind::PoolUnusable,
        ErrorKind::UpstreamBusy,
        ErrorKind::UpstreamFailed,
        ErrorKind::UpstreamTimeout,
        ErrorKind::Overloaded,
        ErrorKind::ShuttingDown,
        ErrorKind::NotOffered,
        ErrorKind::Internal,
    ];

    /// The table. Types and codes of the OpenAI dialect: `xai-api.md` §18 and the older project's envelope; of the
    /// Anthropic dialect: §19.
    const fn row(self) -> Row {
        use Source::{Client, Gateway, Upstream};
        const fn row(
            status: u16,
            source: Source,
            retryable: bool,
            openai_type: &'static str,
            code: &'static str,
            anthropic_type: &'static str,
        ) -> Row {
            Row {
                status,
                source,
                retryable,
                openai_type,
                code,
                anthropic_type,
            }
        }
        match self {
            ErrorKind::InvalidBody => row(
                400,
                Client,
                false,
                "invalid_request_error",
                "invalid_json",
                "invalid_request_error",
            ),
            ErrorKind::InvalidField => row(
                400,
                Client,
                false,
                "invalid_request_error",
                "invalid_value",
                "invalid_request_error",
            ),
            ErrorKind::RejectedByUpstream => row(
                400,
                Client,
                false,
                "invalid_request_error",
                "invalid_value",
                "invalid_request_error",
            ),
            ErrorKind::ContextTooLong => row(
                400,
                Client,
                false,
                "invalid_request_error",
                "context_length_exceeded",
                "invalid_request_error",
            ),
            ErrorKind::UnknownModel => row(
                404,
                Client,
                false,
                "invalid_request_error",
                "model_not_found",
                "not_found_error",
            ),
            ErrorKind::NotFound => row(
                404,
                Client,
                false,
                "invalid_request_error",
                "not_found",
                "not_found_error",
            ),
            ErrorKind::MethodNotAllowed => row(
                405,
                Client,
                false,
                "invalid_request_error",
                "method_not_allowed",
                "invalid_request_error",
            ),
            ErrorKind::TooLarge => row(
                413,
                Client,
                false,
                "invalid_request_error",
                "request_too_large",
                "request_too_large",
            ),
            ErrorKind::UnsupportedMediaType => row(
                415,
                Client,
                false,
                "invalid_request_error",
                "unsupported_media_type",
                "invalid_request_error",
            ),
            ErrorKind::Unauthenticated => row(
                401,
                Client,
                false,
                "authentication_error",
                "invalid_api_key",
                "authentication_error",
            ),
            ErrorKind::Forbidden => row(
                403,
                Client,
                false,
                "permission_error",
                "permission_denied",
                "permission_error",
            ),
            ErrorKind::Conflict => row(
                409,
                Client,
                false,
                "invalid_request_error",
                "conflict",
                "invalid_request_error",
            ),
            ErrorKind::ClientLimit => row(
                429,
                Client,
                true,
                "rate_limit_error",
                "rate_limit_exceeded",
                "rate_limit_error",
            ),
            ErrorKind::ClientBudget => row(
                429,
                Client,
                false,
                "insufficient_quota",
                "insufficient_quota",
                "rate_limit_error",
            ),
            ErrorKind::PoolLimit => row(
                429,
                Gateway,
                true,
                "rate_limit_error",
                "rate_limit_exceeded",
                "rate_limit_error",
            ),
            ErrorKind::PoolUnusable => row(503, Gateway, false, "server_error", "no_usable_token", "api_error"),
            ErrorKind::UpstreamBusy => row(503, Upstream, true, "server_error", "upstream_busy", "overloaded_error"),
            ErrorKind::UpstreamFailed => row(502, Upstream, true, "server_error", "upstream_error", "api_error"),
            ErrorKind::UpstreamTimeout => row(504, Upstream, true, "server_error", "upstream_timeout", "timeout_error"),
            ErrorKind::Overloaded => row(503, Gateway, true, "server_error", "overloaded", "overloaded_error"),
            ErrorKind::ShuttingDown => row(503, Gateway, true, "server_error", "shutting_down", "overloaded_error"),
            ErrorKind::NotOffered => row(
                501,
                Gateway,
                false,
                "invalid_request_error",
                "not_offered",
                "invalid_request_error",
            ),
            ErrorKind::Internal => row(500, Gateway, true, "server_error", "internal_error", "api_error"),
        }
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        self.row().status
    }

    /// Whose fault it is.
    pub fn source(self) -> Source {
        self.row().source
    }

    /// Whether the client has to change something.
    pub fn is_client_fault(self) -> bool {
        self.source() == Source::Client
    }

    /// Whether the same request may succeed later.
    pub fn is_retryable(self) -> bool {
        self.row().retryable
    }

    /// `error.type` in OpenAI's dialect.
    pub fn openai_type(self) -> &'static str {
        self.row().openai_type
    }

    /// `error.code` where nothing more exact is known; also the label in metrics and the request log.
    pub fn code(self) -> &'static str {
        self.row().code
    }

    /// `error.type` in Anthropic's dialect.
    pub fn anthropic_type(self) -> &'static str {
        self.row().anthropic_type
    }
}

/// Who refuses, in `x-grok2api-reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// A limit or budget of the client key.
    ClientLimit,
    /// The pool of tokens.
    Pool,
    /// The upstream.
    Upstream,
}

impl RefusalReason {
    /// The header's value.
    pub fn as_str(self) -> &'static str {
        match self {
            RefusalReason::ClientLimit => "client_limit",
            RefusalReason::Pool => "pool",
            RefusalReason::Upstream => "upstream",
        }
    }
}

/// A request that failed. `message` is for the caller, `detail` for the log; neither ever holds a secret, a team id or a
/// console URL of the upstream.
#[derive(Clone, Debug)]
pub struct GatewayError {
    /// What to decide on.
    pub kind: ErrorKind,
    /// What, where and how to mend it, for the caller.
    pub message: Cow<'static, str>,
    /// More, for the operator's log only.
    pub detail: Option<String>,
    /// The field at fault, dotted, such as `messages.0.role`.
    pub param: Option<String>,
    /// A more exact code than the kind's.
    pub code: Option<&'static str>,
    /// An HTTP status more exact than the kind's (an upstream's 410, 422…).
    pub status: Option<u16>,
    /// When trying again makes sense, in milliseconds from now; the header is cut at 120 s.
    pub retry_after_ms: Option<u64>,
    /// Who refuses.
    pub reason: Option<RefusalReason>,
    /// No time will make it right: the SDKs are told not to try again.
    pub is_final: bool,
}

impl GatewayError {
    /// An error of this kind with words for the caller.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> GatewayError {
        GatewayError {
            kind,
            message: message.into(),
            detail: None,
            param: None,
            code: None,
            status: None,
            retry_after_ms: None,
            reason: None,
            is_final: false,
        }
    }

    /// A field that is missing, of the wrong type or out of range.
    pub fn field(param: impl Into<String>, message: impl Into<Cow<'static, str>>) -> GatewayError {
        GatewayError {
            param: Some(param.into()),
            ..GatewayError::new(ErrorKind::InvalidField, message)
        }
    }

    /// A fault of ours; the caller learns only that.
    pub fn internal(detail: impl Into<String>) -> GatewayError {
        GatewayError {
            detail: Some(detail.into()),
            ..GatewayError::new(
                ErrorKind::Internal,
                "The gateway failed on its own account. The request id names the line in its log.",
            )
        }
    }

    /// With a more exact code.
    pub fn with_code(mut self, code: &'static str) -> GatewayError {
        self.code = Some(code);
        self
    }

    /// With the field at fault.
    pub fn with_param(mut self, param: impl Into<String>) -> GatewayError {
        self.param = Some(param.into());
        self
    }

    /// With words for the log.
    pub fn with_detail(mut self, detail: impl Into<String>) -> GatewayError {
        self.detail = Some(detail.into());
        self
    }

    /// With a more exact status.
    pub fn with_status(mut self, status: u16) -> GatewayError {
        self.status = Some(status);
        self
    }

    /// With the time until trying again makes sense.
    pub fn retry_after(mut self, ms: Option<u64>) -> GatewayError {
        self.retry_after_ms = ms;
        self
    }

    /// That no time will make right.
    pub fn for_good(mut self) -> GatewayError {
        self.is_final = true;
        self
    }

    /// With who refuses.
    pub fn because(mut self, reason: RefusalReason) -> GatewayError {
        self.reason = Some(reason);
        self
    }

    /// The HTTP status to answer with.
    pub fn http_status(&self) -> u16 {
        self.status.unwrap_or_else(|| self.kind.status())
    }

    /// The code to answer with.
    pub fn public_code(&self) -> &'static str {
        self.code.unwrap_or_else(|| self.kind.code())
    }
}

impl fmt::Display for GatewayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for GatewayError {}
