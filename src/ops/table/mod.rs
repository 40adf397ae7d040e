//! The one table of operations. The NATS service registers it, the documents describe it, the command line offers it:
//! what stands here is reachable by every door, and what does not is reachable by none.

mod affinity;
mod cache;
mod config;
mod cluster;
mod jobs;
mod keys;
mod logs;
mod requests;
#[cfg(test)]
mod tests;
mod tokens;
mod users;

use std::panic::AssertUnwindSafe;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use grok2api_schemas::admin::accounts::Role;
use grok2api_schemas::bus::subjects::admin::name_of;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Ops;
use super::audit::Actor;
use super::input;
use crate::engine::error::{ErrorKind, GatewayError};

/// How long an operation may take unless it says otherwise.
const DEADLINE: Duration = Duration::from_secs(15);

/// What one operation is, beside its types and its deed.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Its subject on NATS, without the prefix.
    pub subject: &'static str,
    /// What it does, in a sentence.
    pub doc: &'static str,
    /// Who may do it.
    pub role: Role,
    /// Method and path below `/api/v1/admin`.
    pub http: (&'static str, &'static str),
    /// How long it may take.
    pub deadline: Duration,
}

impl About {
    /// An operation that only looks.
    const fn look(subject: &'static str, doc: &'static str, http: (&'static str, &'static str)) -> About {
        About {
            subject,
            doc,
            role: Role::Viewer,
            http,
            deadline: DEADLINE,
        }
    }

    /// An operation that changes something, or gives out what a viewer must not see.
    const fn change(subject: &'static str, doc: &'static str, http: (&'static str, &'static str)) -> About {
        About {
            role: Role::Admin,
            ..About::look(subject, doc, http)
        }
    }

    /// That may take as long as this.
    const fn within(self, seconds: u64) -> About {
        About {
            deadline: Duration::from_secs(seconds),
            ..self
        }
    }

    /// Its name, such as `tokens.list`.
    pub fn name(&self) -> &'static str {
        name_of(self.subject)
    }

    /// What it is about, such as `tokens`.
    pub fn group(&self) -> &'static str {
        self.name().split_once('.').map_or(self.name(), |(group, _)| group)
    }

    /// What it does to it, such as `list`.
    pub fn verb(&self) -> &'static str {
        self.name().split_once('.').map_or("", |(_, verb)| verb)
    }
}

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;
type Deed = Box<dyn Fn(Ops, Actor, Bytes) -> BoxFuture<'static, Result<Bytes, GatewayError>> + Send + Sync>;

/// One operation.
pub struct Operation {
    /// What it is.
    pub about: About,
    /// The schema of what it takes.
    pub input: SchemaOf,
    /// The schema of what it answers.
    pub output: SchemaOf,
    deed: Deed,
}

impl Operation {
    /// Does it: JSON in (nothing stands for `{}`), JSON out.
    ///
    /// # Errors
    /// `Forbidden` for a viewer who wants to change something; what does not fit, with the field at fault; what the
    /// operation answers; `Overloaded` when it takes too long.
    pub async fn run(&self, ops: Ops, actor: Actor, body: Bytes) -> Result<Bytes, GatewayError> {
        let about = &self.about;
        if actor.role < about.role {
            return Err(GatewayError::new(ErrorKind::Forbidden, "This account may only look."));
        }
        let deed = AssertUnwindSafe((self.deed)(ops, actor, body)).catch_unwind();
        match tokio::time::timeout(about.deadline, deed).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(GatewayError::internal(format!("{} panicked", about.name()))),
            Err(_) => Err(GatewayError::new(
                ErrorKind::Overloaded,
                format!(
                    "{} took longer than {} s. Look whether it was done before you repeat it.",
                    about.name(),
                    about.deadline.as_secs()
                ),
            )
            .with_code("timed_out")),
        }
    }
}

/// Every operation, in the order documents show them.
pub fn operations() -> &'static [Operation] {
    static TABLE: LazyLock<Vec<Operation>> = LazyLock::new(|| {
        let mut table = tokens::operations();
        table.extend(keys::operations());
        table.extend(requests::operations());
        table.extend(config::operations());
        table.extend(affinity::operations());
        table.extend(cache::operations());
        table.extend(jobs::operations());
        table.extend(users::operations());
        table.extend(logs::operations());
        table.extend(cluster::operations());
        table
    });
    &TABLE
}

/// The operation of that name.
pub fn operation(name: &str) -> Option<&'static Operation> {
    operations().iter().find(|operation| operation.about.name() == name)
}

/// A row of the table.
fn row<I, O, F, Fut>(about: About, deed: F) -> Operation
where
    I: DeserializeOwned + JsonSchema + Send + 'static,
    O: Serialize + JsonSchema,
    F: Fn(Ops, Actor, I) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<O, GatewayError>> + Send + 'static,
{
    Operation {
        about,
        input: |generator| generator.subschema_for::<I>(),
        output: |generator| generator.subschema_for::<O>(),
        deed: Box::new(move |ops, actor, body| {
            let deed = deed.clone();
            Box::pin(async move {
                let ask: I = input::json(&body)?;
                let answer = deed(ops, actor, ask).await?;
                serde_json::to_vec(&answer)
                    .map(Bytes::from)
                    .map_err(|error| GatewayError::internal(format!("answer: {error}")))
            })
        }),
    }
}
