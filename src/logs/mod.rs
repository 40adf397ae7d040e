//! Logs as administrators see them: files of this node, and lines of every node while somebody watches.

mod files;
mod line;
mod live;

pub use files::LogOps;
pub use line::Line;
pub use live::{Watch, share, watch};
