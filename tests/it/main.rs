//! The built program, started as processes and talked to over sockets. One binary, because every further one links
//! everything again; a module a topic.

// `cfg(test)` is what the lints for tests look for; without it their helpers count as production code.
#[cfg(test)]
mod admin;
#[cfg(test)]
mod agents;
#[cfg(test)]
mod bad_days;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod batch_jobs;
#[cfg(test)]
mod chat;
#[cfg(test)]
mod child;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod config;
#[cfg(test)]
mod control;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod disconnect;
#[cfg(test)]
mod door;
#[cfg(test)]
mod endings;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod jobs;
#[cfg(test)]
mod joining;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod media;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod pace;
#[cfg(test)]
mod panel;
#[cfg(test)]
mod passed;
#[cfg(test)]
mod recordings;
mod replay;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod start;
#[cfg(test)]
mod support;
#[cfg(test)]
mod telemetry;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod together;
