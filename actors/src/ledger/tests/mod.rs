//! Tests of the ledger as a whole: over a bus in memory and in virtual time, and the simulation of its protocol.

mod cluster;
mod faults;
mod harness;
mod holders;
mod kinds;
mod memory_bus;
mod model;
mod properties;
mod restart;
mod saturation;
mod simulation;
mod traces;
