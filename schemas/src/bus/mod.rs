//! What travels on the bus.

pub mod changes;
pub mod join;
pub mod subjects;
