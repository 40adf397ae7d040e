//! Tests of the ledger as a whole: over a bus in memory and in virtual time, and the simulation of its protocol.

mod cluster;
mod cut_bus;
mod faults;
mod harness;
mod holders;
mod kinds;
mod memory_bus;
mod model;
mod nodes;
mod properties;
mod restart;
mod saturation;
mod shares;
mod simulation;
mod traces;
