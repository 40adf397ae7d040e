//! What travels on the bus.

pub mod admin;
pub mod changes;
pub mod events;
pub mod join;
pub mod subjects;
