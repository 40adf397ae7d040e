//! Bad days of a cluster: real NATS servers, gateway processes, one simulated upstream that judges. Each prints what clients
//! saw and how long recovery took; [`stage`] holds what must be so at the end of every one.

mod cooling;
mod full;
mod hard;
mod killed;
mod leader;
mod load;
mod local_cluster;
mod planned;
mod restored;
mod scrambled;
mod skew;
mod stage;
mod unreachable;
mod versions;
mod waiting;

pub use versions::previous;
