//! What a request builds on: a response, a file, a sealed item that one certain token made. Only that token's team can
//! read it, so the request goes there; and only whoever made it through this gateway may name it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures::FutureExt;
use grok2api_schemas::ids::TokenId;
use memchr::memmem::Finder;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::bindings::{Binding, ObjectKind};
use crate::engine::ask::{Caller, Notes};
use crate::engine::dialect::Told;
use crate::engine::error::{ErrorKind, GatewayError};
use crate::fronts::members::Members;

static PLAIN: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("file_id"));
static ESCAPED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\\u00"));

/// Sealed items looked up for one request; they come from one conversation, so the latest tell enough.
const SEALED_LOOKED_UP: usize = 4;
/// How long the upstream keeps a response (`xai-api.md` §5).
pub const RESPONSE_LIFE_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// How long an answer is held back until what it made is written.
const WRITE_WAIT: Duration = Duration::from_secs(2);

/// What a sealed item is known by.
pub fn mark(sealed: &str) -> [u8; 16] {
    let hash = blake3::hash(sealed.as_bytes());
    let mut mark = [0; 16];
    mark.copy_from_slice(&hash.as_bytes()[..16]);
    mark
}

fn name(mark: &[u8; 16]) -> String {
    mark.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The binding of an object that the caller made.
///
/// # Errors
/// 404 when there is none, or it belongs to somebody else.
pub async fn of_caller(
    app: &App,
    caller: &Caller,
    kind: ObjectKind,
    id: &str,
    not_found: impl FnOnce() -> GatewayError,
) -> Result<Binding, GatewayError> {
    let now_ms = app.clock.wall().0;
    app.bindings
        .get(kind, id)
        .await
        .map_err(|error| GatewayError::internal(error.to_string()))?
        .filter(|binding| binding.owner == caller.owner() && binding.expires_ms > now_ms)
        .ok_or_else(not_found)
}

/// What a request names.
#[derive(Default)]
pub struct References {
    /// The response it continues.
    pub response: Option<String>,
    /// Files, with the member that names them.
    pub files: Vec<String>,
    /// Marks of sealed items, in their order.
    pub sealed: Vec<[u8; 16]>,
}

/// The token that the request must go to; `None` if it is free to go anywhere.
///
/// # Errors
/// 404 for a response or file that the caller did not make here, 400 when two of them were made by different teams.
pub async fn resolve(app: &Arc<App>, caller: &Caller, named: &References) -> Result<Option<TokenId>, GatewayError> {
    let mut pin: Option<TokenId> = None;
    if let Some(id) = &named.response {
        let not_found = || {
            GatewayError::new(
                ErrorKind::NotFound,
                format!("Previous response with id '{}' not found.", clip(id)),
            )
            .with_code("previous_response_not_found")
            .with_param("previous_response_id")
        };
        pin = Some(of_caller(app, caller, ObjectKind::Response, id, not_found).await?.token);
    }
    for id in &named.files {
        let not_found = || {
            GatewayError::new(ErrorKind::NotFound, format!("File '{}' not found.", clip(id)))
                .with_code("file_not_found")
                .with_param("file_id")
        };
        let token = of_caller(app, caller, ObjectKind::File, id, not_found).await?.token;
        if pin.is_some_and(|pin| !same_team(app, pin, token)) {
            return Err(GatewayError::field(
                "file_id",
                format!(
                    "File '{}' lies with another upstream team than what else this request names. Upload it again, and \
                     name only files that were uploaded one after another.",
                    clip(id)
                ),
            )
            .with_code("objects_of_different_teams"));
        }
        pin = pin.or(Some(token));
    }
    if pin.is_some() {
        return Ok(pin);
    }
    for mark in named.sealed.iter().rev().take(SEALED_LOOKED_UP) {
        // One that nobody remembers may still be readable: the upstream decides.
        let found = app.bindings.get(ObjectKind::Sealed, &name(mark)).await;
        if let Ok(Some(binding)) = found
            && binding.owner == caller.owner()
        {
            return Ok(Some(binding.token));
        }
    }
    Ok(None)
}

/// The token that must serve a body whose member names files; `None` where it names none.
///
/// # Errors
/// Those of [`resolve`].
pub async fn of_files(
    app: &Arc<App>,
    caller: &Caller,
    body: &[u8],
    member: &str,
) -> Result<Option<TokenId>, GatewayError> {
    // A name may be written with escapes.
    if PLAIN.find(body).is_none() && ESCAPED.find(body).is_none() {
        return Ok(None);
    }
    let mut named = References::default();
    Members::read(body)?.strings(member, |name, text| {
        if name == "file_id" {
            named.files.push(text.to_owned());
        }
    });
    resolve(app, caller, &named).await
}

/// Whether two tokens are of one team.
pub fn same_team(app: &App, a: TokenId, b: TokenId) -> bool {
    let team = |id| {
        app.pool
            .find(id)
            .and_then(|token| token.team())
            .map(|team| team.id.clone())
    };
    a == b || (team(a).is_some() && team(a) == team(b))
}

fn clip(id: &str) -> &str {
    super::members::clip(id)
}

/// Binds what an answer makes to the token that gave it, and to who asked.
pub struct Maker {
    app: Arc<App>,
    owner: String,
    kind: Option<ObjectKind>,
    life_ms: u64,
    /// The object's id was told, and is told again with everything that follows.
    has_bound: AtomicBool,
    writing: TaskTracker,
}

impl Maker {
    /// For a caller's answers; `kind` says what their id names, `None` where the upstream keeps nothing.
    pub fn new(app: &Arc<App>, caller: &Caller, kind: Option<ObjectKind>, life_ms: u64) -> Arc<Maker> {
        Arc::new(Maker {
            app: app.clone(),
            owner: caller.owner(),
            kind,
            life_ms,
            has_bound: AtomicBool::new(false),
            writing: TaskTracker::new(),
        })
    }

    /// Waits until what was told is written, so that every node finds what the client is about to name; not for ever, for
    /// the answer itself is good.
    pub async fn written(&self) {
        self.writing.close();
        if tokio::time::timeout(WRITE_WAIT, self.writing.wait()).await.is_err() {
            tracing::warn!("an object of the upstream is answered before it is remembered: the bus is slow");
        }
    }
}

impl Notes for Maker {
    fn told(&self, told: &Told, token: TokenId) {
        let mut made: Vec<(ObjectKind, String)> = Vec::new();
        let keeps = || {
            let team = self.app.pool.find(token).and_then(|token| token.team());
            !team.is_some_and(|team| team.record().zdr)
        };
        if let (Some(kind), Some(id)) = (self.kind, &told.object_id)
            && (kind != ObjectKind::Response || keeps())
            && !self.has_bound.swap(true, Ordering::AcqRel)
        {
            made.push((kind, id.clone()));
        }
        made.extend(told.sealed.iter().map(|mark| (ObjectKind::Sealed, name(mark))));
        if made.is_empty() {
            return;
        }
        let binding = Binding {
            token,
            owner: self.owner.clone(),
            expires_ms: self.app.clock.wall().0 + self.life_ms,
            answer: None,
        };
        for (kind, id) in made {
            let app = self.app.clone();
            let mut writing = Box::pin({
                let binding = binding.clone();
                async move {
                    if let Err(error) = app.bindings.put(kind, &id, binding).await {
                        tracing::warn!(?kind, %error, "an object of the upstream is not remembered: later calls that name it will not find it");
                    }
                }
            });
            // As far as it goes at once: it is found on this node before the client has read of it.
            if writing.as_mut().now_or_never().is_none() {
                self.app.tracker.spawn(self.writing.track_future(writing));
            }
        }
    }
}
