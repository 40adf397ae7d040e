//! What travels on the bus.

pub mod subjects;
