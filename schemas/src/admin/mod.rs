//! What the admin doors take and answer: the same types over HTTP, over the bus and on the command line.

pub mod page;
pub mod tokens;
