//! What the admin doors take and answer: the same types over HTTP, over the bus and on the command line.

pub mod accounts;
pub mod affinity;
pub mod cache;
pub mod audit;
pub mod config;
pub mod cluster;
pub mod export;
pub mod history;
pub mod jobs;
pub mod keys;
pub mod limit;
pub mod logs;
pub mod page;
pub mod requests;
pub mod rollups;
pub mod tokens;
pub mod users;
