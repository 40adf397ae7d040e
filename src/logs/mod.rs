//! Logs as administrators see them: files of every node, and lines of every node while somebody watches.

mod across;
mod files;
mod line;
mod live;

pub use across::LogOps;
pub use line::Line;
pub use live::{Watch, share, watch};
