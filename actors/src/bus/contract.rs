//! What every implementation of [`Bus`] must do. Each function wants a bus whose bucket, shard and subject are fresh; a
//! failed promise is a panic that says which.

mod journal;
mod keep;
mod kv;
mod talk;

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use tokio::time::timeout;

use super::{Bus, BusError, BusErrorKind};

/// Longer than any healthy bus takes.
const SOON: Duration = Duration::from_secs(5);

/// Every promise, on a fresh bus.
pub async fn all(bus: &dyn Bus) {
    kv::revisions_and_conditions(bus).await;
    kv::compare_and_set_lets_one_of_many_through(bus).await;
    kv::a_refused_write_can_read_why(bus).await;
    kv::bulk_writes_and_lists(bus).await;
    kv::watches(bus).await;
    journal::journals(bus).await;
    journal::journal_retries(bus).await;
    journal::journal_duels(bus).await;
    talk::publications(bus).await;
    talk::requests(bus).await;
    keep::records(bus).await;
    keep::objects(bus).await;
}

fn kind<T: std::fmt::Debug>(outcome: Result<T, BusError>) -> BusErrorKind {
    outcome.expect_err("this must be refused").kind
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(SOON, future)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}
