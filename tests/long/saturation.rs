//! 10,000 requests, 256 in flight throughout, 20 keys in 5 teams, in front of an upstream that shares no code with the
//! gateway and counts arrivals in every sliding window.

use crate::support::saturation::{self, Limit, Saturation};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes more than three minutes"]
async fn ten_thousand_requests_pass_no_limit_of_a_minute() {
    let report = saturation::run(Saturation {
        teams: 5,
        keys_per_team: 4,
        limit: Limit::PerMinute(600),
        total: 10_000,
        in_flight: 256,
    })
    .await;
    report.assert_kept(0.95);
    // Over whole minutes: what is charged until T + D after the settlement costs a few per cent.
    for row in &report.rows {
        assert!(row.sustained >= 0.9, "{}", report.describe());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes more than a minute"]
async fn ten_thousand_requests_pass_no_limit_of_a_second() {
    let report = saturation::run(Saturation {
        teams: 5,
        keys_per_team: 4,
        limit: Limit::PerSecond(40),
        total: 10_000,
        in_flight: 256,
    })
    .await;
    report.assert_kept(0.75);
    for row in &report.rows {
        assert!(row.sustained >= 0.75, "{}", report.describe());
    }
}
