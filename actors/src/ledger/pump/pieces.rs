//! What goes to another node in one message has to fit into one: NATS takes 1 MiB by default, and the answer is as large as the
//! question, or twice.

use grok2api_schemas::cluster::ShardRequest;
use grok2api_schemas::ledger::{Ask, OwnerRequest, Settlement};
use grok2api_schemas::meter::{Domain, Meter};

use super::batch::Sent;

/// What goes to one shard, and what it carried.
pub(super) type Part = (usize, ShardRequest, Sent);

/// Bytes of one message, as [`size`] estimates them.
const MOST_BYTES: usize = 256 * 1024;
/// What an ask, a settlement or a figure takes beside the name of its meter and lists of grants, at most.
const ITEM_BYTES: usize = 96;
/// A grant's name.
const GRANT_BYTES: usize = 26;

/// The parts in as few messages as hold them; a part that is too large for one is taken apart.
pub(super) fn pieces(parts: Vec<Part>) -> Vec<Vec<Part>> {
    let mut all: Vec<Vec<Part>> = Vec::new();
    let mut room = 0;
    let mut waiting: Vec<Part> = parts.into_iter().rev().collect();
    while let Some(part) = waiting.pop() {
        let bytes = size(&part.1.request);
        if bytes > MOST_BYTES && items(&part.1.request) > 1 {
            let (first, second) = halves(part);
            waiting.push(second);
            waiting.push(first);
            continue;
        }
        match all.last_mut() {
            Some(message) if bytes <= room => {
                room -= bytes;
                message.push(part);
            }
            _ => {
                // One item that is larger than a message may be: NATS has the last word.
                room = MOST_BYTES.saturating_sub(bytes);
                all.push(vec![part]);
            }
        }
    }
    all
}

/// What a part can be taken apart into.
fn items(request: &OwnerRequest) -> usize {
    request.learned.len() + request.seen.len() + request.settlements.len() + request.asks.len()
}

/// Two parts of one, each with what it carries.
fn halves((shard, part, sent): Part) -> (Part, Part) {
    let ShardRequest {
        shard: name,
        urgent,
        request,
    } = part;
    let mut to_move = items(&request) / 2;
    let mut first = (request, sent);
    let mut second = (OwnerRequest::of(first.0.session), Sent::default());
    second.1.urgent = first.1.urgent;
    // Limits go before the asks that they bind: they stay in front.
    let mut take = |count: usize| {
        let moved = count.min(to_move);
        to_move -= moved;
        count - moved
    };
    let keep = take(first.0.asks.len());
    second.0.asks = first.0.asks.split_off(keep);
    second.1.asks = first.1.asks.split_off(keep);
    let keep = take(first.0.settlements.len());
    second.0.settlements = first.0.settlements.split_off(keep);
    second.1.told = first.1.told.split_off(keep);
    let keep = take(first.0.seen.len());
    second.0.seen = first.0.seen.split_off(keep);
    let keep = take(first.0.learned.len());
    second.0.learned = first.0.learned.split_off(keep);
    let part = |(request, sent)| {
        let part = ShardRequest {
            shard: name,
            urgent,
            request,
        };
        (shard, part, sent)
    };
    (part(first), part(second))
}

/// Bytes that a request takes at most.
fn size(request: &OwnerRequest) -> usize {
    let named = |meter: &Meter| ITEM_BYTES + name_bytes(&meter.domain);
    let asks = request.asks.iter().map(|ask: &Ask| {
        let grants = ask.holding.len() + ask.renew.len();
        named(&ask.meter) + GRANT_BYTES * grants
    });
    let settlements = request
        .settlements
        .iter()
        .map(|settlement: &Settlement| named(&settlement.meter) + GRANT_BYTES);
    let figures = request.learned.iter().chain(&request.seen);
    let figures = figures.map(|(meter, _)| named(meter));
    asks.sum::<usize>() + settlements.sum::<usize>() + figures.sum::<usize>()
}

fn name_bytes(domain: &Domain) -> usize {
    match domain {
        Domain::TeamModel { provider, team, model } => provider.len() + team.len() + model.len(),
        Domain::Team { provider, team } => provider.len() + team.len(),
        Domain::Token(id) | Domain::ClientKey(id) => id.len(),
    }
}

#[cfg(test)]
mod tests {
    use grok2api_schemas::cluster::NodeRequest;
    use grok2api_schemas::ids::SessionId;
    use grok2api_schemas::ledger::{GrantId, Report};
    use grok2api_schemas::meter::MeterKind;

    use super::*;
    use crate::bus::codec;
    use crate::ledger::pump::batch::Told;

    fn grant(number: u64) -> GrantId {
        GrantId {
            owner: SessionId::from_bytes([7; 16]),
            number: u64::MAX - number,
        }
    }

    fn part(shard: usize, count: u64) -> Part {
        let mut request = OwnerRequest::of(SessionId::from_bytes([9; 16]));
        let mut sent = Sent::default();
        for at in 0..count {
            let meter = Meter {
                domain: Domain::TeamModel {
                    provider: "xai".to_owned(),
                    team: format!("{at:0>36}"),
                    model: "grok-4-fast-reasoning".to_owned(),
                },
                kind: MeterKind::Requests { window_ms: u64::MAX },
            };
            let report = Report {
                sent: u64::MAX,
                done: u64::MAX,
                cost: u64::MAX,
                returned: u64::MAX,
                closed: true,
            };
            request.settlements.push(Settlement {
                meter: meter.clone(),
                grant: grant(at),
                day: Some(u32::MAX),
                report,
            });
            sent.told.push(Told {
                meter: None,
                grant: grant(at),
                report,
            });
            request.learned.push((meter, at));
        }
        let part = ShardRequest {
            shard: u16::try_from(shard).unwrap(),
            urgent: true,
            request,
        };
        (shard, part, sent)
    }

    #[test]
    fn messages_fit_and_nothing_is_lost_or_told_under_another_name() {
        let all = pieces(vec![part(0, 3), part(1, 20_000), part(2, 0), part(3, 1_000)]);
        assert!(all.len() > 4);
        let (mut told, mut learned) = (0, 0);
        for message in all {
            let mut requests = Vec::new();
            for (_, part, sent) in message {
                assert_eq!(part.request.settlements.len(), sent.told.len());
                for (settlement, told) in part.request.settlements.iter().zip(&sent.told) {
                    assert_eq!(settlement.grant, told.grant);
                }
                told += sent.told.len();
                learned += part.request.learned.len();
                requests.push(part);
            }
            let bytes = codec::encode(codec::VERSION, &NodeRequest::Exchange(requests)).unwrap();
            assert!(bytes.len() <= MOST_BYTES + 4_096, "{} bytes", bytes.len());
        }
        assert_eq!((told, learned), (21_003, 21_003));
        // The usual case: one message.
        assert_eq!(pieces(vec![part(0, 3), part(1, 0), part(2, 50)]).len(), 1);
        assert!(pieces(Vec::new()).is_empty());
    }
}
