//! Links to kept files: below the public address, and signed where the operator wants links to end.

use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use grok2api_actors::clock::Clock;
use grok2api_actors::vault::Vault;
use grok2api_schemas::config::Config;
use grok2api_schemas::media::{KeptFile, MediaKind};
use poem::Request;

use crate::app::App;
use crate::door::origin::{ClientOrigin, public_base_url};
use crate::ops::cache::PathOf;

/// Bytes of a signature: 128 bits are out of reach of guessing.
const SIGNATURE: usize = 16;

/// Makes links for one client.
#[derive(Clone)]
pub struct Links {
    base: String,
    signing: Option<(Arc<Vault>, u64)>,
}

impl Links {
    /// Links for whoever made this request.
    pub fn of(app: &App, request: &Request) -> Links {
        let config = app.config();
        let base = match request.extensions().get::<ClientOrigin>() {
            Some(origin) => public_base_url(&config.app.app_url, origin),
            None => config.app.app_url.trim_end_matches('/').to_owned(),
        };
        let until = app.clock.wall().0 / 1000 + config.security.signed_media_secs;
        Links {
            base,
            signing: config.security.signed_media.then(|| (app.vault.clone(), until)),
        }
    }

    /// The link to a file.
    pub fn to(&self, file: &KeptFile) -> String {
        format!("{}{}", self.base, self.path(file.kind, &file.name))
    }

    /// The same without the address.
    pub fn path(&self, kind: MediaKind, name: &str) -> String {
        path(kind, name, self.signing.as_ref())
    }

    /// The name of the file that an address leads to, if it is one of this gateway's.
    pub fn name_in(&self, url: &str) -> Option<(MediaKind, String)> {
        let path = url.strip_prefix(self.base.as_str()).unwrap_or(url);
        let path = path.split(['?', '#']).next().unwrap_or_default();
        MediaKind::ALL.into_iter().find_map(|kind| {
            let name = path.strip_prefix(&format!("/v1/files/{}/", kind.as_str()))?;
            Some((kind, grok2api_actors::media::name::of_path(name)?))
        })
    }
}

fn path(kind: MediaKind, name: &str, signing: Option<&(Arc<Vault>, u64)>) -> String {
    let path = format!("/v1/files/{}/{name}", kind.as_str());
    match signing {
        Some((vault, until)) => {
            format!(
                "{path}?expires={until}&signature={}",
                signature(vault, kind, name, *until)
            )
        }
        None => path,
    }
}

/// Makes paths for operators, who have no request of a client at hand.
pub fn path_maker(config: Arc<ArcSwap<Config>>, vault: Arc<Vault>, clock: Clock) -> PathOf {
    Arc::new(move |kind, name| {
        let security = &config.load().security;
        let signing = security
            .signed_media
            .then(|| (vault.clone(), clock.wall().0 / 1000 + security.signed_media_secs));
        path(kind, name, signing.as_ref())
    })
}

fn signature(vault: &Vault, kind: MediaKind, name: &str, until: u64) -> String {
    let signed = vault.fingerprint(&format!("a link to media\n{}\n{name}\n{until}", kind.as_str()));
    URL_SAFE_NO_PAD.encode(&signed[..SIGNATURE])
}

/// How long a link is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Good {
    /// As long as the file is there.
    Always,
    /// So many seconds more.
    For(u64),
    /// Not any more, or never was.
    Not,
}

/// Whether a link with this query may be followed.
pub fn check(app: &App, kind: MediaKind, name: &str, query: &str) -> Good {
    if !app.config().security.signed_media {
        return Good::Always;
    }
    let find = |wanted: &str| {
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find_map(|(member, value)| (member == wanted).then_some(value))
    };
    let (Some(until), Some(signed)) = (
        find("expires").and_then(|until| until.parse::<u64>().ok()),
        find("signature"),
    ) else {
        return Good::Not;
    };
    let expected = signature(&app.vault, kind, name, until);
    // Compared as hashes, so that the time it takes tells nothing.
    let is_signed = blake3::hash(expected.as_bytes()) == blake3::hash(signed.as_bytes());
    match until.saturating_sub(app.clock.wall().0 / 1000) {
        0 => Good::Not,
        left if is_signed => Good::For(left),
        _ => Good::Not,
    }
}
