//! Somebody who reads the ledger's journals from their first entry on, as they are written, and keeps books of its own: who
//! decided, which grant was made and closed how often, what was used and what is only presumed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::{self, Message};
use futures::StreamExt;
use grok2api_actors::bus::codec;
use grok2api_schemas::ledger::{Change, Entry, EntryBody, GrantId, Report};
use grok2api_schemas::meter::{Domain, Meter, MeterKind};
use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// How long the reader waits before it connects again.
const PAUSE: Duration = Duration::from_millis(200);
/// What an append says its predecessor in the same journal is.
const PREDECESSOR: &str = "Nats-Expected-Last-Subject-Sequence";

/// One grant, as the journal tells it.
#[derive(Clone, Debug)]
pub struct Written {
    /// Of which meter.
    pub meter: Arc<Meter>,
    /// To which session.
    pub holder: String,
    pub units: u64,
    pub report: Report,
    /// Whether it never reached its holder.
    pub forgone: bool,
    /// Whether its life ended with units in hand, or its session fell silent.
    pub presumed: bool,
}

impl Written {
    /// Units that nobody has accounted for.
    pub fn open_units(&self) -> u64 {
        if self.report.closed || self.forgone {
            return 0;
        }
        self.units.saturating_sub(self.report.returned + self.report.done)
    }
}

/// What the journal says of a client key's day, in calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Day {
    /// That were made, as their nodes said, or the next lives of those that died: these take the worst for what they were.
    pub used: u64,
    /// Of those, by nodes that live.
    pub used_by_living: u64,
    /// That count for those: late ones twice.
    pub charged: u64,
    /// Of which nobody knows whether they were made: nodes took them that are no more, or their lives ended untold.
    pub presumed: u64,
    /// In hand or in flight on nodes that live.
    pub open: u64,
}

#[derive(Default)]
struct Books {
    /// The last sequence of each shard, and whose epoch it is: the takeover's sequence and its writer.
    shards: BTreeMap<String, (u64, u64, String)>,
    grants: HashMap<GrantId, Written>,
    last: u64,
    entries: u64,
    faults: Vec<String>,
}

/// The reader. Dropping it ends it.
pub struct JournalReader {
    books: Arc<Mutex<Books>>,
    _end: DropGuard,
}

impl JournalReader {
    /// Reads the journals of the cluster with this prefix, from the beginning; for as long as NATS is away it waits.
    pub fn start(url: &str, prefix: &str) -> JournalReader {
        let (books, end) = (Arc::new(Mutex::new(Books::default())), CancellationToken::new());
        let (url, stream) = (url.to_owned(), format!("{prefix}_journal"));
        let (into, stop) = (books.clone(), end.clone());
        TaskTracker::new().spawn(async move {
            let read = async {
                loop {
                    if let Err(error) = follow(&url, &stream, &into).await {
                        println!("  the journal's reader begins again: {error}");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = read => {}
            }
        });
        JournalReader {
            books,
            _end: end.drop_guard(),
        }
    }

    /// What was written that must never be.
    pub fn faults(&self) -> Vec<String> {
        self.books.lock().faults.clone()
    }

    /// Entries that were read.
    pub fn entries(&self) -> u64 {
        self.books.lock().entries
    }

    /// The last sequence that was read.
    pub fn last(&self) -> u64 {
        self.books.lock().last
    }

    /// Every grant.
    pub fn grants(&self) -> Vec<Written> {
        self.books.lock().grants.values().cloned().collect()
    }

    /// How a client key's day stands; `living` are the sessions that go on.
    pub fn day_of_key(&self, key: &str, kind: MeterKind, living: &BTreeSet<String>) -> Day {
        let of_key = |meter: &Meter| meter.kind == kind && meter.domain == Domain::ClientKey(key.to_owned());
        let books = self.books.lock();
        let mut day = Day::default();
        for grant in books.grants.values().filter(|grant| of_key(&grant.meter)) {
            day.used += grant.report.done;
            day.charged += grant.report.cost;
            if living.contains(&grant.holder) {
                day.used_by_living += grant.report.done;
            }
            if living.contains(&grant.holder) && !grant.presumed {
                day.open += grant.open_units();
            } else {
                day.presumed += grant.open_units();
            }
        }
        day
    }
}

async fn follow(url: &str, stream: &str, books: &Mutex<Books>) -> Result<(), async_nats::Error> {
    let client = async_nats::connect(url.split(',').collect::<Vec<_>>()).await?;
    let jetstream = jetstream::new(client);
    let stream = jetstream.get_stream(stream).await?;
    let last = books.lock().last;
    let from = if last == 0 {
        DeliverPolicy::All
    } else {
        DeliverPolicy::ByStartSequence {
            start_sequence: last + 1,
        }
    };
    let consumer = stream
        .create_consumer(pull::OrderedConfig {
            deliver_policy: from,
            ..Default::default()
        })
        .await?;
    let mut messages = consumer.messages().await?;
    while let Some(message) = messages.next().await {
        books.lock().read(&message?);
    }
    Ok(())
}

impl Books {
    fn read(&mut self, message: &Message) {
        let sequence = message.info().map_or(0, |info| info.stream_sequence);
        if sequence <= self.last {
            return;
        }
        self.last = sequence;
        self.entries += 1;
        let shard = message.subject.to_string();
        let predecessor = message.headers.as_ref().and_then(|headers| headers.get(PREDECESSOR));
        let predecessor: Option<u64> = predecessor.and_then(|value| value.as_str().parse().ok());
        let (before, mut epoch, mut owner) = self.shards.get(&shard).cloned().unwrap_or_default();
        if predecessor != Some(before) {
            self.fault(format!(
                "{shard}: entry {sequence} was appended to {predecessor:?}, and {before} is the one before it"
            ));
        }
        let entry: Entry = match codec::decode(&message.payload) {
            Ok(entry) => entry,
            Err(error) => return self.fault(format!("{shard}: entry {sequence}: {error}")),
        };
        let writer = entry.writer.to_string();
        match &entry.body {
            EntryBody::Takeover(_) => (epoch, owner) = (sequence, writer),
            EntryBody::Suspect(_) if entry.epoch == 0 => (epoch, owner) = (sequence, writer),
            _ if (entry.epoch, &writer) != (epoch, &owner) => self.fault(format!(
                "{shard}: entry {sequence} is of {writer} in epoch {}, and {owner} took over in {epoch}",
                entry.epoch
            )),
            _ => {}
        }
        self.shards.insert(shard, (sequence, epoch, owner));
        if let EntryBody::Changes(changes) = entry.body {
            for of_meter in changes.meters {
                let meter = Arc::new(of_meter.meter);
                for change in of_meter.changes {
                    self.change(&meter, &change);
                }
            }
        }
    }

    fn change(&mut self, meter: &Arc<Meter>, change: &Change) {
        let (grant, what) = match *change {
            Change::Granted {
                grant, holder, units, ..
            } => {
                let fresh = Written {
                    meter: meter.clone(),
                    holder: holder.to_string(),
                    units,
                    report: Report::default(),
                    forgone: false,
                    presumed: false,
                };
                if self.grants.insert(grant, fresh).is_some() {
                    self.fault(format!("{meter}: {grant:?} was made twice"));
                }
                return;
            }
            Change::Forgone { grant } => (grant, None),
            Change::Settled { grant, report, .. } => (grant, Some(report)),
            Change::Lapsed { grant, .. } | Change::Abandoned { grant, .. } => {
                match self.grants.get_mut(&grant) {
                    Some(written) if written.report.closed || written.forgone => {
                        self.fault(format!("{meter}: {grant:?} lapsed after it was closed"));
                    }
                    Some(written) => written.presumed = true,
                    None => self.fault(format!("{meter}: {grant:?} lapsed and was never made")),
                }
                return;
            }
            Change::Stranger { units, .. } => {
                return self.fault(format!("{meter}: {units} units of a grant that was never made"));
            }
            Change::Limit { .. } | Change::Renewed { .. } | Change::Foreign { .. } | Change::Rebased { .. } => return,
        };
        let Some(written) = self.grants.get_mut(&grant) else {
            return self.fault(format!("{meter}: {grant:?} was settled and never made"));
        };
        let was_closed = written.report.closed || written.forgone;
        match what {
            None => written.forgone = true,
            Some(report) => {
                let known = written.report;
                written.report = Report {
                    sent: known.sent.max(report.sent),
                    done: known.done.max(report.done),
                    cost: known.cost.max(report.cost),
                    returned: known.returned.max(report.returned),
                    closed: known.closed || report.closed,
                };
            }
        }
        let (now, units) = (written.report, written.units);
        if was_closed {
            self.fault(format!("{meter}: {grant:?} was settled after it was closed"));
        }
        let counts_units = matches!(meter.kind, MeterKind::Requests { .. } | MeterKind::PerDay(_));
        if counts_units && now.sent + now.returned > units {
            self.fault(format!("{meter}: {grant:?} had {units} units and settles {now:?}"));
        }
    }

    fn fault(&mut self, fault: String) {
        // The first ones say it.
        if self.faults.len() < 20 {
            self.faults.push(fault);
        }
    }
}
