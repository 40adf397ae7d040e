//! More demand than an upstream's limits allow, for as long as it takes: nothing may pass a limit, and little of it may
//! be left unused.

use serde_json::json;

use super::load::{self, Outcome};
use super::scripts::OtherUpstream;
use super::{MODEL, Plan, Sim, ask};

/// What each team may do.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    PerSecond(u64),
    PerMinute(u64),
}

/// The demand.
#[derive(Clone, Copy, Debug)]
pub struct Saturation {
    pub teams: usize,
    pub keys_per_team: usize,
    pub limit: Limit,
    /// Calls that the client key may make; 64 more are tried.
    pub total: usize,
    pub in_flight: usize,
}

/// One team's fullest window.
#[derive(Clone, Debug)]
pub struct Row {
    pub team: String,
    pub total: u64,
    pub refused: u64,
    pub fullest: u64,
    pub limit: u64,
    pub seconds: f64,
    /// Arrivals of the time that was judged, as a share of what the limit allows in it.
    pub sustained: f64,
}

/// What became of it.
#[derive(Debug)]
pub struct Report {
    pub wish: Saturation,
    pub rows: Vec<Row>,
    pub outcome: Outcome,
    pub refused_by_key: usize,
}

/// Tries that many calls more than the client key may make.
const EXTRA: usize = 64;

/// Runs it against the independent upstream.
pub async fn run(wish: Saturation) -> Report {
    let (name, limit, window) = match wish.limit {
        Limit::PerSecond(limit) => ("rps", limit, 1.0),
        Limit::PerMinute(limit) => ("rpm", limit, 60.0),
    };
    let key = |team: usize, at: usize| Sim::key(team * 100 + at);
    let teams: Vec<_> = (0..wish.teams)
        .map(|team| {
            let keys: Vec<String> = (0..wish.keys_per_team).map(|at| key(team, at)).collect();
            json!({"id": Sim::team_id(team), "keys": keys, "limits": {name: limit}})
        })
        .collect();
    let upstream = OtherUpstream::start(json!({"teams": teams})).await;
    let mut plan = Plan::new(&upstream.base_url())
        .set("clients.max_wait_ms", 120_000)
        .keys((0..wish.teams).flat_map(|team| (0..wish.keys_per_team).map(move |at| key(team, at))));
    for team in 0..wish.teams {
        plan = plan.limits(&Sim::team_id(team), "*", &format!("{name} = {limit}"));
    }
    let gateway = plan.start_warm().await;
    let client = gateway
        .admin()
        .await
        .new_key(json!({"name": "saturation", "limits": {"chat_per_day": wish.total}}))
        .await;
    let outcome = load::run(
        &gateway.as_client(&client.secret),
        wish.total + EXTRA,
        wish.in_flight,
        |at| ask(MODEL, &format!("call {at}")),
    )
    .await;
    let arrivals = upstream.arrivals().await;
    let rows: Vec<Row> = arrivals["arrivals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let fullest = row["windows"].as_array().unwrap().iter();
            let mut fullest = fullest
                .filter(|one| one["seconds"] == window)
                .map(|one| &one["fullest"]);
            let total = row["total"].as_u64().unwrap();
            let seconds = row["seconds"].as_f64().unwrap();
            Row {
                team: row["team"].as_str().unwrap().to_owned(),
                total,
                refused: row["refused"].as_u64().unwrap(),
                fullest: fullest.next().unwrap().as_u64().unwrap(),
                limit,
                seconds,
                sustained: total as f64 / (limit as f64 * (seconds / window).max(1.0)),
            }
        })
        .collect();
    let report = Report {
        wish,
        rows,
        refused_by_key: outcome.count(429),
        outcome,
    };
    println!("{}", report.describe());
    if report.outcome.count(200) != wish.total {
        for refused in report
            .outcome
            .refusals
            .values()
            .flatten()
            .filter(|got| got.status != 429)
        {
            let record = gateway.admin().await.request(refused.header("x-request-id")).await;
            println!("{record:#}");
        }
    }
    report
}

impl Report {
    /// For a person.
    pub fn describe(&self) -> String {
        let mut text = format!("{:?}: {}\n", self.wish, self.outcome.describe());
        for row in &self.rows {
            text.push_str(&format!(
                "{}: {} arrivals, {} refused, fullest window {} of {} ({:.1} %), sustained {:.1} % over {:.1} s\n",
                row.team,
                row.total,
                row.refused,
                row.fullest,
                row.limit,
                100.0 * row.fullest as f64 / row.limit as f64,
                100.0 * row.sustained,
                row.seconds,
            ));
        }
        text
    }

    /// No window over the limit, none of the teams below `least` of it, the client key's limit exact.
    #[track_caller]
    pub fn assert_kept(&self, least: f64) {
        let said = self.describe();
        assert_eq!(self.rows.len(), self.wish.teams, "{said}");
        for row in &self.rows {
            assert!(row.fullest <= row.limit, "over the limit: {said}");
            assert_eq!(row.refused, 0, "{said}");
            assert!(
                row.fullest as f64 >= least * row.limit as f64,
                "less than {least} of the limit used: {said}"
            );
        }
        assert_eq!(self.outcome.count(200), self.wish.total, "{said}");
        assert_eq!(self.refused_by_key, EXTRA, "{said}");
        let arrived: u64 = self.rows.iter().map(|row| row.total).sum();
        assert_eq!(arrived, self.wish.total as u64, "{said}");
    }
}
