//! Login, logout, and who is logged in.

use grok2api_schemas::admin::accounts::{LoginAnswer, SessionKey, SessionView};
use http::header::SET_COOKIE;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::call::{Answer, Call, Guarded, bearer, json as answer};
use super::{body, cookie};
use crate::ops::accounts::bound_key;
use crate::ops::audit::Actor;

#[derive(Deserialize)]
struct LoginBody {
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
}

/// `POST /login`. As in the older project, a bearer stands for the password if the body has none.
pub async fn login(call: Call) -> Answer {
    let bytes = body::read(call.body, call.admin.limits.ordinary).await?;
    let sent: LoginBody = body::json(&bytes)?;
    let username = sent.username.unwrap_or_default();
    let (username, password) = match sent.password.filter(|password| !password.trim().is_empty()) {
        Some(password) => (username, password),
        None => {
            let username = if username.trim().is_empty() {
                "admin".to_owned()
            } else {
                username
            };
            (username, bearer(&call.headers).unwrap_or_default().to_owned())
        }
    };
    let accounts = &call.admin.accounts;
    let opened = accounts
        .login(call.origin.ip, &username, Zeroizing::new(password))
        .await?;
    let session = &opened.session;
    let actor = Actor {
        username: session.username.clone(),
        role: session.role,
        ip: Some(call.origin.ip),
        trail: Some(call.admin.ops.audit.clone()),
    };
    actor.did::<&str>("session.open", &[], "");
    let mut response = answer(&LoginAnswer {
        status: "success".to_owned(),
        token: opened.token.to_string(),
        api_key: opened.token.to_string(),
        expires_at: session.expires_ms / 1000,
        username: session.username.clone(),
        role: session.role,
        csrf_token: session.csrf_token.clone(),
    })?;
    let seconds = (session.expires_ms - session.created_ms) / 1000;
    if let Some(value) = cookie::set(&opened.token, seconds, call.origin.https) {
        response.headers_mut().insert(SET_COOKIE, value);
    }
    Ok(response)
}

/// `POST /logout`: the session is over when this answers.
pub async fn logout(guarded: Guarded) -> Answer {
    let admin = &guarded.call.admin;
    admin.accounts.logout(&guarded.token).await?;
    guarded.actor.did::<&str>("session.close", &[], "");
    // The session's key is taken no more already: what is left of it goes.
    let (id, _) = bound_key(&guarded.token, &guarded.session);
    admin.keys.forget_bound(id).await;
    let mut response = answer(&json!({"status": "success"}))?;
    if let Some(value) = cookie::clear(guarded.call.origin.https) {
        response.headers_mut().insert(SET_COOKIE, value);
    }
    Ok(response)
}

/// `GET /session`.
pub async fn current(guarded: Guarded) -> Answer {
    let session = &guarded.session;
    answer(&SessionView {
        username: session.username.clone(),
        role: session.role,
        created_at: session.created_ms / 1000,
        expires_at: session.expires_ms / 1000,
        csrf_token: session.csrf_token.clone(),
        opened_on: session.opened_on.0.clone(),
    })
}

/// `POST /session/key`: the client key of this session, for the panel's chat. It is the same at every call, ends with the
/// session on every node, and can be nobody else's.
pub async fn key(guarded: Guarded) -> Answer {
    let Guarded {
        call,
        actor,
        session,
        token,
        ..
    } = guarded;
    // What sessions left that ended without a logout.
    let accounts = &call.admin.accounts;
    call.admin.keys.sweep_bound(|id| accounts.lets_call(id)).await;
    let (id, secret) = bound_key(&token, &session);
    let made = call
        .admin
        .keys
        .of_session(&actor, id, secret.clone(), session.expires_ms);
    made.await?;
    answer(&SessionKey {
        id,
        key: secret.to_string(),
        expires_at: session.expires_ms / 1000,
    })
}
